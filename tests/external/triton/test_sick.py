"""A Triton that answers every call with an error at once, as one does whose GPU is lost, while 64 clients ask.

A real Triton stands behind a port that can play the sick one: it passes all on, but calls once `sick` is set.
`make test-all ONLY=triton ARGS="-s -k sick"` prints the answers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from tests.process import PATIENT_WITH_TRITON, Process
from tests.support import form, png

if TYPE_CHECKING:
    from .conftest import Triton

CLIENTS, CALLS = 64, 4  # calls of one encoder at a time
ILLEGAL = (grpc.StatusCode.INTERNAL, "onnx runtime error 1: CUDA failure 700: an illegal memory access")
Ask = Callable[[], Awaitable[None]]


class Port(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped
    """Passes every message on to `url`. `sick`: calls fail at once. `failed`: how many did."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.aio.insecure_channel(url, options=[("grpc.max_receive_message_length", -1)])
        self.sick, self.failed, self.url = False, 0, ""

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(partial(self._pass_on, details.method))

    async def _pass_on(self, method: str, message: bytes, context: Any) -> Any:
        if self.sick and method.endswith("/ModelInfer"):
            self.failed += 1
            await context.abort(*ILLEGAL)
        try:
            return await self._channel.unary_unary(method)(message)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details())


@asynccontextmanager
async def port_to(triton: Triton) -> AsyncIterator[Port]:
    port, listening = Port(triton.url), grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    listening.add_generic_rpc_handlers((port,))
    port.url = f"127.0.0.1:{listening.add_insecure_port('127.0.0.1:0')}"
    await listening.start()
    yield port
    await listening.stop(None)


class Load:
    """Clients of a gateway, each with one request at a time. `answers`: (phase, status, code) -> requests."""

    def __init__(self, url: str) -> None:
        self.phase, self._ended = "well", False
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.retry_after: set[str | None] = set()  # of answers with 503
        self.client = httpx.AsyncClient(
            base_url=url, timeout=120, limits=httpx.Limits(max_connections=CLIENTS)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._ask(number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            # Nobody is cancelled: httpx leaves connections open where that request closes several old ones.
            self._ended = True
            await asyncio.gather(*clients)
            await self.client.aclose()

    async def _ask(self, number: int) -> None:
        picture = form([png(number)], {})
        while not self._ended:
            phase = self.phase
            files = picture if number % 2 else form([], {"text": f"{time.monotonic()}"})
            answer = await self.client.post("/embed", files=files)
            code = "" if answer.status_code == 200 else answer.json()["code"]
            self.answers[phase, answer.status_code, code] += 1  # of the phase that it was sent in
            if answer.status_code == 503:
                self.retry_after.add(answer.headers.get("Retry-After"))
            await asyncio.sleep(0.05)

    def count(self, phase: str, *, failed: bool = False) -> int:
        """Answers to what was sent in a phase; `failed`: other ones than 200 alone."""
        return sum(
            number
            for (sent, status, _), number in self.answers.items()
            if sent == phase and (status != 200 or not failed)
        )


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(300):
        while not await holds():
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("others", [1, 0], ids=["beside a well one", "alone"])
async def test_a_sick_triton_loses_at_most_the_calls_in_flight(triton: Triton, others: int) -> None:
    async with port_to(triton) as port:
        urls = [port.url, triton.url][: 1 + others]
        process = Process(backend="triton", triton_url=",".join(urls), **PATIENT_WITH_TRITON)
        await asyncio.to_thread(process.wait_ready)
        load = Load(process.url)

        async def ready() -> bool:
            return (await load.client.get("/readyz")).status_code == 200

        async def up(*urls: str) -> bool:
            metrics = (await load.client.get(process.operations_url + "/metrics")).text
            labels = (f'clipserve_triton_endpoint_up{{endpoint="{url}",model="demo"}} 1.0' for url in urls)
            return all(label in metrics for label in labels)

        async def down() -> bool:
            return not await up(port.url)

        async def asked_and_tried() -> bool:
            """Requests have been answered, and a later trial of the sick one has failed."""
            return load.count("sick") >= 2 * CLIENTS and port.failed > failed

        async def asked() -> bool:
            return load.count(load.phase) >= 2 * CLIENTS

        was_ready = port_was_up = None
        try:
            await _until(partial(up, *urls))
            async with load.running():
                await _until(asked)
                load.phase, port.sick = "falls sick", True
                await _until(down)
                load.phase, failed = "sick", port.failed
                await _until(asked_and_tried)
                was_ready, port_was_up = await ready(), await up(port.url)
                load.phase, port.sick = "mends", False
                await _until(partial(up, port.url))
                load.phase = "mended"
                await _until(asked)
        finally:
            status, log = process.stop()
            print("\n", dict(sorted(load.answers.items())), "calls that failed at the sick one:", port.failed)
            print("ready while sick:", was_ready, "up:", port_was_up, load.retry_after)
    assert status == 0
    assert (was_ready, port_was_up) == (bool(others), False)
    assert '"state": "sick"' in log
    assert load.count("mended", failed=True) == 0, load.answers
    if others:
        in_flight = load.count("well", failed=True) + load.count("falls sick", failed=True)
        assert in_flight <= 2 * CALLS, load.answers
        assert load.count("sick", failed=True) + load.count("mends", failed=True) == 0, load.answers
    else:
        assert load.count("sick", failed=True) > 0, load.answers
        assert {code for _, status, code in load.answers if status != 200} == {"backend_unavailable"}
        assert load.retry_after == {"1"}
