"""All builds, made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.deploy.builds import BUILDS, build
from tests.deploy.manifests import K8S, Object, parsed


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a build -> a file with its manifests."""
    folder = tmp_path_factory.mktemp("built")
    files = {name: folder / f"{name}.yaml" for name in BUILDS}

    def write(name: str) -> None:
        (folder / name).mkdir()
        of_the_cluster = K8S / "components" / "tensorrt" / "priorityclass.yaml"  # applied by itself
        beside = f"---\n{of_the_cluster.read_text()}" if "tensorrt" in BUILDS[name].outside else ""
        files[name].write_text(build(BUILDS[name], K8S, folder / name) + beside)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, BUILDS))
    return files


@pytest.fixture(scope="session")
def objects(built: dict[str, Path]) -> dict[str, list[Object]]:
    """Name of a build -> its objects, which nobody changes."""
    return {name: parsed(path.read_text()) for name, path in built.items()}
