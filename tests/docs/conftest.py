"""A service with the demo model for all pages, and photographs for their readers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.docs.walk import CACHE, SECONDS, SETTINGS
from tests.e2e.conftest import photos  # noqa: F401
from tests.support.process import Process
from tools.markdown import ROOT


@pytest.fixture(scope="session")
def demo() -> Iterator[Process]:
    process = Process(**SETTINGS)
    process.wait_ready(SECONDS)
    yield process
    assert process.stop()[0] == 0


@pytest.fixture
def folder(tmp_path: Path, photos: dict[str, bytes]) -> Path:  # noqa: F811
    """What a checkout has that pages name, and in `photos` four of scikit-image's photographs."""
    (tmp_path / "docs/pictures").mkdir(parents=True)
    (tmp_path / "photos").mkdir()
    for path in ("docs/cat.jpg", "docs/pictures/page-light.png"):
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    # The demo model in the place and under the name of the model that pages export.
    artifact = tmp_path / CACHE / "ViT-B-32"
    shutil.copytree(DEMO, artifact, ignore=shutil.ignore_patterns("*.py", "*.md", "__pycache__"))
    manifest = artifact / "model.json"
    manifest.write_text(manifest.read_text().replace('"demo"', '"ViT-B-32"', 1))
    for name, image in photos.items():
        (tmp_path / f"photos/{name}.jpg").write_bytes(image)
    return tmp_path
