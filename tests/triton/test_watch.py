"""Which Triton a gateway accepts, by the configuration that it serves: a small gRPC server stands in for Triton."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from clipserve.clip.manifest import GPU_TEXT_BUCKETS
from clipserve.engine.triton.address import Address
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import Channel, TritonOptions
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from tests.triton.backends import not_ready
from tests.triton.stand_in import MANIFEST, StandIn
from tests.waiting import until


class Faulty(Channel):
    """Fails once, after the server was found ready, with an error that none should have. `failed`: it has."""

    asked, failed = 0, False

    async def ask(self, method: str, model: str) -> Any:
        self.asked += 1
        if self.asked > 6 and not self.failed:
            self.failed = True
            raise ValueError("a fault")
        return await super().ask(method, model)


async def test_a_fault_of_the_watch_is_not_its_end(one: StandIn) -> None:
    channel = Faulty(grpc.aio.insecure_channel(one.url))

    class Options(TritonOptions):
        def connect(self, server: str, address: Address, credentials: Any = None) -> Channel:
            return channel

    backend = TritonBackend(MANIFEST, Options([one.url], ask_seconds=0.05), Metrics())
    await backend.start()
    await until(lambda: channel.failed)
    one.ready = False
    await until(lambda: not_ready(backend))
    await backend.aclose()


@pytest.mark.parametrize(
    "fingerprint",
    [
        pytest.param(MANIFEST.fingerprint("scaled_decode=true"), id="other choices"),
        pytest.param(MANIFEST.fingerprint(precision="fp16"), id="another precision"),
        pytest.param("", id="none"),
    ],
)
async def test_another_artifact_is_refused_at_the_start(one: StandIn, fingerprint: str) -> None:
    one.state(fingerprint)
    backend = TritonBackend(MANIFEST, TritonOptions([one.url], ask_seconds=0.05), Metrics())
    async with asyncio.timeout(120):
        with pytest.raises(BackendUnavailable, match="Write the repository again"):
            await backend.start()
    await backend.aclose()


def test_texts_are_padded_to_the_lengths_that_a_repository_is_written_for() -> None:
    assert TritonBackend.text_buckets == GPU_TEXT_BUCKETS
