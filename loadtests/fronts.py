"""The two fronts beside each other: what a request costs the gateway over HTTP/1.1 and over gRPC."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from loadtests import closed_loop
from loadtests.bodies import always, embed, embed_text, photo
from loadtests.observe import Observer
from loadtests.process import Server
from loadtests.report import table
from loadtests.words import phrase

_EMBED = "/clipserve.v1.Clip/Embed"
_IMAGES, _TEXTS = 1, 2  # numbers of fields of EmbedRequest
_VGA = (640, 480)
_PAUSE = 0.1  # seconds after a refusal, as in the closed loop

Run = Callable[
    [Server, str, int, float, int], int
]  # server, gRPC address, clients, seconds, first -> requests


@dataclass(frozen=True)
class FrontRun:
    """`rate`: requests a second. `cpu`: seconds of the server's CPU for one."""

    name: str
    rate: float
    cpu: float


def fronts(
    server: Server,
    address: str,
    clients: int,
    seconds: float,
    rounds: int,
    report: Callable[[FrontRun], None],
) -> list[FrontRun]:
    """Every kind of request in turns, as often as `rounds` says. `address`: where the server speaks gRPC."""
    found = []
    for round_ in range(-1, rounds):  # one to warm up
        for number, (name, run) in enumerate(_RUNS.items()):
            first = (round_ * len(_RUNS) + number) << 20  # texts that are new
            with Observer(server) as observer:
                began = time.perf_counter()
                requests = run(server, address, clients, seconds, abs(first))
                elapsed = time.perf_counter() - began
            cpu = observer.observation.cpu_seconds or 0.0
            if round_ >= 0:
                found.append(FrontRun(name, requests / elapsed, cpu / max(1, requests)))
                report(found[-1])
    return found


def fronts_table(runs: Sequence[FrontRun]) -> str:
    """Medians over the rounds."""
    rows = []
    for name in _RUNS:
        of = [run for run in runs if run.name == name]
        cpu, rate = (statistics.median(each) for each in zip(*((r.cpu, r.rate) for r in of), strict=True))
        rows.append([name, f"{1e3 * cpu:.2f}", f"{rate:,.0f}"])
    return table(("embed", "server's CPU ms", "a second"), rows)


def _rest_photo(server: Server, _: str, clients: int, seconds: float, first: int) -> int:
    return len(closed_loop.run(server.url, always(embed(photo(*_VGA))), clients, seconds, first).good)


def _rest_text(server: Server, _: str, clients: int, seconds: float, first: int) -> int:
    calls = closed_loop.run(server.url, lambda number: embed_text(phrase(number)), clients, seconds, first)
    return len(calls.good)


def _grpc_photo(_: Server, address: str, clients: int, seconds: float, first: int) -> int:
    message = _field(_IMAGES, photo(*_VGA))
    return _unary(address, lambda _: message, clients, seconds, first)


def _grpc_text(_: Server, address: str, clients: int, seconds: float, first: int) -> int:
    return _unary(address, lambda number: _field(_TEXTS, phrase(number).encode()), clients, seconds, first)


def _unary(address: str, message: Callable[[int], bytes], clients: int, seconds: float, first: int) -> int:
    """Calls answered, by so many clients with a connection of their own."""
    numbers, answered = itertools.count(first), itertools.count()
    end = time.perf_counter() + seconds

    def client() -> None:
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            method = channel.unary_unary(_EMBED)
            while time.perf_counter() < end:
                try:
                    method(message(next(numbers)), timeout=60)
                    next(answered)
                except grpc.RpcError:
                    time.sleep(_PAUSE)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(answered)


def _field(number: int, value: bytes) -> bytes:
    """A message with one field of bytes or text."""
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + value


_RUNS: dict[str, Run] = {
    "a photo of 640 x 480, REST": _rest_photo,
    "a photo of 640 x 480, gRPC": _grpc_photo,
    "a text, REST": _rest_text,
    "a text, gRPC": _grpc_text,
}
