"""The image, built once from the Dockerfile, and one hardened container of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest

from tests.image.container import Container
from tests.image.engine import ROOT, Engine

IMAGE = "localhost/clipserve"
REVISION = "a-revision"


@pytest.fixture(scope="session")
def engine() -> Engine:
    made = Engine()
    made.bases()
    return made


@pytest.fixture(scope="session")
def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@pytest.fixture(scope="session")
def image(engine: Engine, version: str) -> str:
    return engine.build(IMAGE, VERSION=version, REVISION=REVISION)


@pytest.fixture(scope="session")
def running(engine: Engine, image: str) -> Iterator[Container]:
    """Ready."""
    container = Container(engine, image)
    try:
        container.wait_ready()
        yield container
    finally:
        container.remove()
