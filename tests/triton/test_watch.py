"""Which Triton a gateway accepts, by the configuration that it serves: a small gRPC server stands in for Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clipserve.clip.manifest import Precision
from clipserve.clip.reference import reference_pixels
from clipserve.engine.triton.address import Address
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import Channel, TritonOptions
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from tests.triton.stand_in import MANIFEST, StandIn
from tests.waiting import until


@pytest.fixture
async def backend(one: StandIn) -> AsyncIterator[TritonBackend]:
    made = TritonBackend(MANIFEST, TritonOptions([one.url], ask_seconds=0.05), Metrics())
    async with asyncio.timeout(120):
        yield made
    await made.aclose()


async def not_ready(backend: TritonBackend) -> bool:
    return not await backend.ready()


@pytest.mark.parametrize(("served", "learned"), [(None, None), ("fp16", "fp16"), ("bf16", "bf16")])
async def test_the_precision_is_learned_from_what_is_served(
    one: StandIn, backend: TritonBackend, served: Precision | None, learned: str | None
) -> None:
    one.serve(served, served)
    assert backend.precision is None, "not started"
    await backend.start()
    assert backend.precision == learned


class Faulty(Channel):
    """Fails on the first question for statistics with an error that none should have. `failed`: it has."""

    failed = False

    async def ask(self, method: str, model: str) -> Any:
        if method == "ModelStatistics" and not self.failed:
            self.failed = True
            raise ValueError("a fault")
        return await super().ask(method, model)


async def test_a_fault_of_the_watch_is_not_its_end(one: StandIn) -> None:
    channel = Faulty(one.url, [], {})

    class Options(TritonOptions):
        def connect(self, server: str, address: Address, credentials: Any = None) -> Channel:
            return channel

    backend = TritonBackend(MANIFEST, Options([one.url]), Metrics())
    await backend.start()
    await until(lambda: channel.failed)
    one.ready = False
    await until(lambda: not_ready(backend))
    await backend.aclose()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fingerprint", MANIFEST.fingerprint(precision="fp8")),
        ("fingerprint", MANIFEST.fingerprint("scaled_decode=true")),
        ("fingerprint", MANIFEST.fingerprint(precision="fp16")),
        ("fingerprint", ""),
        ("precision", "fp16"),
        ("precision", "fp8"),
    ],
)
async def test_another_artifact_or_an_unknown_precision_is_refused(
    one: StandIn, backend: TritonBackend, key: str, value: str
) -> None:
    one.state(key, value)
    with pytest.raises(BackendUnavailable, match="Write the repository again"):
        await backend.start()


@pytest.mark.parametrize("towers_in", [("fp16", None), (None, "fp16")])
async def test_two_towers_of_different_precisions_are_refused(
    one: StandIn, backend: TritonBackend, towers_in: tuple[Precision | None, Precision | None]
) -> None:
    one.serve(*towers_in)
    with pytest.raises(BackendUnavailable, match=r"computes images in fp(16|32) and texts in fp(16|32)"):
        await backend.start()


async def test_a_triton_that_comes_back_in_another_precision_is_refused_until_the_first_is_back(
    one: StandIn, backend: TritonBackend
) -> None:
    await backend.start()
    one.ready = False
    await until(lambda: not_ready(backend))
    one.serve("fp16", "fp16")
    one.ready, asked = True, one.asked
    await until(lambda: one.asked >= asked + 6)  # three looks at both models
    assert not await backend.ready()
    assert backend.precision is None
    with pytest.raises(BackendUnavailable):
        await backend.encode_image(reference_pixels(MANIFEST.image.size))
    one.serve()
    await until(backend.ready)
    assert backend.precision is None
