"""`python -m tests.telemetry.overhead`: microseconds of a request that tracing takes, network aside.

Requests to two services, one of which has a collector, on encoders of arithmetic, in turns: without `traceparent`,
with one that is not sampled, and with one that is. Counted is the CPU of the event loop's thread, so that other
processes change it little; what the thread that sends spans takes beside it is not in it.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from starlette.types import ASGIApp, Message

from service.bootstrap import open_gateway
from service.engine.batch_queue import BatchPolicy
from service.engine.batching import Batched
from service.engine.fake import FakeBackend
from service.settings import Settings
from service.telemetry import log
from service.telemetry.metrics import Metrics
from tests.support import DIM, write_toy_artifact
from tests.telemetry.collector import collecting
from tests.telemetry.traced import SAMPLED, UNSAMPLED

_REQUESTS = 20  # in a batch: short, so that the two of a pair meet the same machine
_ROUNDS = 150
_BODY = b'{"texts": ["a photo"]}'
_HEADERS: Mapping[str, str | None] = {
    "no traceparent": None,
    "traceparent without the flag": UNSAMPLED,
    "traceparent with the flag": SAMPLED,
}


@asynccontextmanager
async def service(folder: Path, otlp_endpoint: str | None) -> AsyncIterator[ASGIApp]:
    backend = Batched(FakeBackend(DIM), BatchPolicy(4), BatchPolicy(32), Metrics())
    settings = Settings(
        models=(folder,), grpc_enabled=False, decode_processes=False, otlp_endpoint=otlp_endpoint
    )
    async with open_gateway(settings, lambda *_: backend) as gateway:
        await gateway.warm_up()
        yield gateway.app


async def ask(app: ASGIApp, traceparent: str | None) -> None:
    """One POST /embed, in a task of its own as the server makes it."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    if traceparent:
        headers.append((b"traceparent", traceparent.encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/embed",
        "raw_path": b"/embed",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "scheme": "http",
        "http_version": "1.1",
    }
    unread = [{"type": "http.request", "body": _BODY, "more_body": False}]
    status: list[int] = []

    async def receive() -> Message:
        if unread:
            return unread.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    await app(scope, receive, send)
    assert status == [200]


async def microseconds(app: ASGIApp, traceparent: str | None) -> float:
    """For one request of a batch."""
    begun = time.thread_time()
    for _ in range(_REQUESTS):
        await asyncio.create_task(ask(app, traceparent))
    return (time.thread_time() - begun) / _REQUESTS * 1e6


async def main() -> None:
    log.configure("CRITICAL")
    taken: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with collecting() as collector, tempfile.TemporaryDirectory() as place:
        folder = await write_toy_artifact(Path(place) / "toy")
        async with service(folder, None) as without, service(folder, collector.url) as traced:
            for number in range(_ROUNDS):
                cases = [
                    (name, app is traced, app, header)
                    for name, header in _HEADERS.items()
                    for app in (without, traced)
                ]
                for name, traces, app, header in cases[:: 1 if number % 2 else -1]:
                    taken[name, traces].append(await microseconds(app, header))
    print("| request | without tracing | with tracing | more |\n| --- | --: | --: | --: |")
    for name in _HEADERS:
        off, on = taken[name, False], taken[name, True]
        more = statistics.median(b - a for a, b in zip(off, on, strict=True))
        print(f"| {name} | {statistics.median(off):.0f} | {statistics.median(on):.0f} | {more:+.1f} |")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
