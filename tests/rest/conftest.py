"""A running service on arithmetic encoders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, Running, serving


@pytest.fixture
async def running(toy: Path) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), toy) as running:
        yield running
