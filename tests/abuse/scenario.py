"""Clients beside each other: good ones whose loss is counted, hostile ones that go on for a while."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.abuse.attack import Attack
from tests.abuse.probe import Probe, Prober, percentile
from tests.abuse.victim import play_attack
from tests.abuse.wire import Address
from tests.process import Process


@dataclass(frozen=True)
class Company:
    """What good clients saw. Seconds."""

    probes: list[Probe]

    @property
    def lost(self) -> float:
        """The share that had no 200, nor the 202 of a label set that is being built."""
        return sum(probe.status not in (200, 202) for probe in self.probes) / max(1, len(self.probes))

    @property
    def p99(self) -> float:
        return percentile([probe.seconds for probe in self.probes])

    @property
    def statuses(self) -> Counter[int]:
        return Counter(probe.status for probe in self.probes)


@contextmanager
def good_clients(address: Address, count: int, what: str = "photos") -> Iterator[list[Prober]]:
    """So many clients that send photos, each in a process of its own."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = Prober(address, what)
            stack.callback(client.stop)
            clients.append(client)
        _wait_for_first(clients)
        yield clients


def _wait_for_first(clients: Sequence[Prober]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and not all(client.probes for client in clients):
        time.sleep(0.05)


def seen_for(clients: Sequence[Prober], seconds: float) -> Company:
    """What they saw of the requests that they began in this time."""
    started = time.monotonic()
    time.sleep(seconds)
    ended = time.monotonic()
    return Company([probe for client in clients for probe in client.between(started, ended)])


@contextmanager
def hostile_client(process: Process, attack: Attack, source: str | None = "127.0.0.2") -> Iterator[None]:
    """One client that repeats an attack while the block lasts."""
    pieces = tuple(attack.make())
    ended = threading.Event()

    def client() -> None:
        while not ended.is_set():
            if not play_attack(process, attack, pieces, 5.0, source).received:
                ended.wait(0.05)  # perhaps there is no connection to be had

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
