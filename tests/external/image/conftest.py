"""The image, built once from the Dockerfile, and one hardened container of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clipserve import __version__
from tests.external.image.apart import own_network
from tests.external.image.container import Container
from tests.external.image.engine import Engine

IMAGE = "localhost/clipserve"
REVISION = "a-revision"


@pytest.fixture(scope="session")
def engine() -> Engine:
    made = Engine()
    made.bases()
    return made


@pytest.fixture(scope="session")
def version() -> str:
    return __version__


@pytest.fixture(scope="session")
def image(engine: Engine, version: str) -> str:
    built = engine.build(IMAGE, VERSION=version, REVISION=REVISION)
    own_network()  # nothing is downloaded any more
    return built


@pytest.fixture(scope="session")
def running(engine: Engine, image: str) -> Iterator[Container]:
    """Ready."""
    container = Container(engine, image)
    try:
        container.wait_ready()
        yield container
    finally:
        container.remove()
