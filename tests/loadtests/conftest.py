"""A running service on arithmetic encoders, as for the tests of the REST front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, serving, write_toy_artifact


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), await write_toy_artifact(tmp_path / "toy")) as running:
        yield running
