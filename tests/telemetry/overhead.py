"""`python -m tests.telemetry.overhead`: microseconds of a request that tracing takes, network aside.

Requests to a service on encoders of arithmetic, whose tracing is switched on and off in turns: without
`traceparent`, with one that is not sampled, and with one that is. Counted is the CPU of the event loop's thread,
without what the thread that sends spans takes beside it. The fastest tenth is what other processes disturb least.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import timeit
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from starlette.types import ASGIApp, Message

from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.settings import Settings
from clipserve.telemetry import log
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.spans import Tracing
from clipserve.wiring.gateway import Gateway, open_gateway
from clipserve.wiring.serve import settle_memory
from loadtests.fake_backend import FakeBackend
from tests.support import DIM, write_toy_artifact
from tests.telemetry.collector import collecting
from tests.telemetry.traced import SAMPLED, UNSAMPLED

_REQUESTS = 5  # in a batch: short, so that the two of a pair meet the same machine
_ROUNDS = 500
_BODY = b'{"texts": ["a photo"]}'
_HEADERS: Mapping[str, str | None] = {
    "no traceparent": None,
    "traceparent without the flag": UNSAMPLED,
    "traceparent with the flag": SAMPLED,
}


@asynccontextmanager
async def service(folder: Path, otlp_endpoint: str) -> AsyncIterator[Gateway]:
    backend = Batched(FakeBackend(DIM), BatchPolicy(4), BatchPolicy(32), Metrics())
    settings = Settings(
        models=(folder,), grpc_enabled=False, decode_processes=False, otlp_endpoint=otlp_endpoint
    )
    async with open_gateway(settings, lambda *_: backend) as gateway:
        await gateway.warm_up()
        yield gateway


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
        async with service(folder, collector.url) as gateway:
            tracings = {False: Tracing(), True: gateway.metrics.tracing}
            cases = [(name, on) for name in _HEADERS for on in tracings]
            settle_memory()  # as the service does once it is ready
            for number in range(_ROUNDS):
                for name, on in cases[:: 1 if number % 2 else -1]:
                    gateway.metrics.tracing = tracings[on]
                    taken[name, on].append(await microseconds(gateway.app, _HEADERS[name]))
    print(
        f"the decision about a request without the flag: {decision(tracings[True], UNSAMPLED):.1f} microseconds\n"
    )
    print("| request | without tracing | with tracing | more | give or take | more, of the fastest tenth |")
    print("| --- | --: | --: | --: | --: | --: |")
    for name in _HEADERS:
        without, traced = taken[name, False], taken[name, True]
        more, error = difference(without, traced)
        medians = f"{statistics.median(without):.0f} | {statistics.median(traced):.0f}"
        fastest = fast(traced) - fast(without)
        print(f"| {name} | {medians} | {more:+.1f} | {error:.1f} | {fastest:+.1f} |")


def decision(tracing: Tracing, header: str) -> float:
    """Microseconds of `begin`: all that tracing adds to a request that is not traced. The best of many."""
    given = header.encode()
    return min(timeit.repeat(lambda: tracing.begin(given), number=1_000, repeat=200)) * 1e3


def fast(taken: Sequence[float]) -> float:
    """A tenth is faster."""
    return statistics.quantiles(taken, n=10)[0]


def difference(off: Sequence[float], on: Sequence[float]) -> tuple[float, float]:
    """The median of what the second of each pair takes more, and two standard errors of it.

    The error of a median of n is 1.25 sigma / sqrt(n), and sigma is a range of the middle half / 1.35.
    """
    more = [b - a for a, b in zip(off, on, strict=True)]
    low, middle, high = statistics.quantiles(more, n=4)
    return middle, 2 * 1.25 * (high - low) / 1.35 / len(more) ** 0.5


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
