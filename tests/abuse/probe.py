"""Clients that ask again and again, each in a process of its own: an attacker's Python must not hold them up.

    python -m tests.abuse.probe livez HOST PORT [SOURCE]    /livez every 20 ms
    python -m tests.abuse.probe photos HOST PORT [SOURCE]   a photo twice a second, each fourth of 12 megapixels
    python -m tests.abuse.probe ROUTE HOST PORT [SOURCE]    a route of `loops.ROUTES` ten times a second

Each time on a new connection, as a kubelet does. A line for each answer: when it was asked and how long it took, in
nanoseconds of the monotonic clock, the status, 0 where there was none, and how long a process that only sends back
what it gets took after that.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.abuse.attack import good, head
from tests.abuse.loops import ROUTES
from tests.abuse.wire import Address, play

PERIOD = 0.02  # seconds between two questions to /livez
_PHOTO_PERIOD = 0.5  # four such clients use a third of two cores
_ROUTE_PERIOD = 0.1
_LIVEZ = head("/livez", "Connection: close", method="GET")


@dataclass(frozen=True)
class Probe:
    """`asked`: seconds of the monotonic clock. `echo`: seconds of a process that only sends back what it gets."""

    asked: float
    seconds: float
    status: int
    echo: float


class Prober:
    """A client that asks from now to `stop`. `what`: `livez` or `photos`."""

    def __init__(self, address: Address, what: str = "livez", source: str = "") -> None:
        self.probes: list[Probe] = []
        command = [sys.executable, "-m", "tests.abuse.probe", what, address[0], str(address[1]), source]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                return  # killed in the middle of it
            asked, took, status, echo = map(int, line.split())
            self.probes.append(Probe(asked / 1e9, took / 1e9, status, echo / 1e9))

    def between(self, start: float, end: float) -> list[Probe]:
        """Those asked in this time; waits for their answers."""
        until = time.monotonic() + 30
        while time.monotonic() < until and not (self.probes and self.probes[-1].asked > end):
            time.sleep(PERIOD)
        return [probe for probe in self.probes if start - PERIOD <= probe.asked <= end]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """It asks nothing in this block; a question that was begun before ends after it."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def percentile(values: list[float], share: float = 0.99) -> float:
    """The value that this share of them does not exceed; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def most_seconds(probes: list[Probe], quiet: float) -> float:
    """What 99 of 100 may take: so much, or on a machine that is busy with other things fifty times an echo.

    That is one turn of a process; an answer takes a connection, and turns of a loop and of its neighbours.
    """
    return max(quiet, 50 * percentile([probe.echo for probe in probes]))


def _echo() -> Callable[[], object]:
    """A trip to a process that only sends back what it gets; it ends with this one."""
    here, there = socket.socketpair()
    if not os.fork():
        here.close()
        while data := there.recv(1):
            there.send(data)
        os._exit(0)
    there.close()
    return lambda: (here.send(b"x"), here.recv(1))


def _questions(what: str) -> tuple[float, Iterator[bytes]]:
    """The seconds between two, and each."""
    if what == "livez":
        return PERIOD, itertools.repeat(_LIVEZ)
    if what == "photos":
        return _PHOTO_PERIOD, itertools.cycle((*([good(1_200, 900)] * 3), good(4_000, 3_000)))
    return _ROUTE_PERIOD, iter(ROUTES[what], None)


def main() -> None:
    what, host, port, *source = sys.argv[1:]
    period, requests = _questions(what)
    echo = _echo()
    for request in requests:
        asked = time.monotonic_ns()
        answers = play((host, int(port)), [request], 1, 60, source[0] if source else None).answers
        took = time.monotonic_ns() - asked
        status, sent = answers[0].status if answers else 0, time.monotonic_ns()
        echo()
        print(asked, took, status, time.monotonic_ns() - sent, flush=True)
        time.sleep(max(PERIOD, period - took / 1e9))


if __name__ == "__main__":
    main()
