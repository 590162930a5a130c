"""The contract of all backends, held by the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from clipserve.engine.backend import Backend
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import TritonOptions
from clipserve.telemetry.metrics import Metrics
from tests.engine.test_backend import (  # noqa: F401  collected here with this module's backend
    MANIFEST,
    test_a_cancelled_call_leaves_the_others_alone,
    test_a_row_alone_equals_the_row_in_a_mixed_batch,
    test_concurrent_calls_do_not_mix_rows,
    test_padding_does_not_change_a_text,
    test_vectors_have_shape_type_and_unit_length,
)

if TYPE_CHECKING:
    from .conftest import Triton


@pytest.fixture
async def backend(triton: Triton) -> AsyncIterator[Backend]:
    made = TritonBackend(MANIFEST, TritonOptions([triton.url], deadline_seconds=60), Metrics())
    await made.start()
    async with asyncio.timeout(300):
        yield made
    await made.aclose()
