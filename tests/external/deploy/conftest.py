"""All renderings, made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools.manifests import Object
from tools.renderings import RENDERINGS, render


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """Name of a rendering -> its objects, which nobody changes."""

    def rendered(name: str) -> tuple[str, list[Object]]:
        folder: Path = tmp_path_factory.mktemp(name.replace(" ", "-").replace(",", ""))
        return name, render(RENDERINGS[name], folder)

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(rendered, RENDERINGS))
