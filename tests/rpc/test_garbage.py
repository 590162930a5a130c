"""What a call held ends and is freed with it, as in REST: the engine's work, and no reference cycle is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clipserve.errors import BackendFailed
from tests.rest.test_garbage import Failing, left_in_cycles, no_collector
from tests.rpc.client import Client, Refused, client_of
from tests.support.service import eventually, png, serving

__all__ = ["no_collector"]  # a fixture


def states() -> int:
    """Calls that gRPC has in memory."""
    return sum(type(each).__name__ == "RPCState" for each in gc.get_objects())


async def answers(client: Client, _: Failing) -> None:
    await client.call("Embed", images=[png()], texts=["a"])


async def refuses(client: Client, _: Failing) -> None:
    with pytest.raises(Refused):
        await client.call("Embed")


async def keeps_a_label_set(client: Client, _: Failing) -> None:
    await client.call("PutLabelSet", name="pets", labels=[{"label": "cat", "examples": [png()]}])
    await client.call("DeleteLabelSet", name="pets")


async def refuses_a_label_set(client: Client, _: Failing) -> None:
    for label in ({"label": ""}, {"label": "cat", "examples": [b"x" * 10_000]}):
        with pytest.raises(Refused):
            await client.call("PutLabelSet", name="pets", labels=[label])


async def fails(client: Client, backend: Failing) -> None:
    backend.failing, backend.error = True, BackendFailed("failed.")
    with pytest.raises(Refused):
        await client.call("Embed", images=[png()], texts=["a"])


async def leaves(client: Client, backend: Failing) -> None:
    backend.failing, backend.error = True, None
    call = asyncio.create_task(client.call("Embed", images=[png()], texts=["a"]))
    await eventually(lambda: backend.hanging == 2)
    call.cancel()
    await eventually(lambda: backend.hanging == 0)


async def runs_out_of_time(client: Client, backend: Failing) -> None:
    backend.failing, backend.error = True, None
    with pytest.raises(Refused):
        await client.call("Embed", images=[png()], texts=["a"], timeout=0.1)
    await eventually(lambda: backend.hanging == 0)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "ask",
    [answers, refuses, keeps_a_label_set, refuses_a_label_set, fails, leaves, runs_out_of_time],
)
async def test_a_call_leaves_no_cycle_and_no_work(
    toy: Path, ask: Callable[[Client, Failing], Awaitable[None]]
) -> None:
    backend = Failing()
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        await ask(client, backend)
        await asyncio.sleep(0.05)
        left_in_cycles()  # what is made once
        before = states()
        for _ in range(5):
            await ask(client, backend)
        await eventually(lambda: states() <= before + 1)  # gRPC keeps the first and the last
        assert left_in_cycles() == {}
