"""Small servers that stand in for Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.triton.stand_in import StandIn, standing_in


@pytest.fixture
async def one() -> AsyncIterator[StandIn]:
    """No Triton: a small server that stands in for one."""
    async with standing_in(1) as made:
        yield made


@pytest.fixture
async def two() -> AsyncIterator[StandIn]:
    """Another one."""
    async with standing_in(2) as made:
        yield made
