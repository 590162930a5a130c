"""All builds, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.manifests import BUILDS, K8S, Object, build, parsed


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a build -> a file with its manifests."""
    folder = tmp_path_factory.mktemp("built")
    copied = shutil.copytree(K8S, folder / "k8s")
    files = {name: folder / f"{name}.yaml" for name in BUILDS}
    for name, path in files.items():
        path.write_text(build(name, copied))
    return files


@pytest.fixture(scope="session")
def objects(built: dict[str, Path]) -> dict[str, list[Object]]:
    """Name of a build -> its objects, which nobody changes."""
    return {name: parsed(path.read_text()) for name, path in built.items()}
