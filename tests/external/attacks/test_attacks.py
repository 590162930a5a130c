"""Hostile inputs, each once and then on many connections: one bar for all of them, see `tests.abuse.victim`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.abuse.attack import Attack
from tests.abuse.rows import ATTACKS, BY_ID
from tests.abuse.victim import Victim

# As different as they can be: bodies, decoders, answers that nobody reads, streams.
TOGETHER = (
    "32 of WebP, alpha of 6 MP",
    "100 large answers, unread",
    "540 connections of photos",
    "gRPC: 3,000 messages of a stream, then a reset",
    "gRPC: 100 watches that withhold their message",
)


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """One for all: what an attack leaves behind, the next ones find."""
    victim = Victim()
    yield victim
    assert victim.close() == 0


@pytest.mark.parametrize("attack", [pytest.param(each, id=each.id) for each in ATTACKS])
def test_an_attack_is_refused_at_a_bounded_cost_and_the_neighbours_are_served(
    victim: Victim, attack: Attack
) -> None:
    verdict = victim.attacked(attack)
    photos = verdict.cpu / victim.photo
    costs = (
        f"{photos:.1f} photos | {verdict.memory / 1e6:.0f} MB | neighbour p99 {1000 * verdict.waited:.0f} ms"
    )
    print(f"{attack.id} | {dict(verdict.statuses)} | {costs}")
    assert verdict.faults == []


def test_sigterm_in_the_middle_of_attacks_ends_the_process_in_order() -> None:
    victim = Victim()
    attackers = [
        threading.Thread(target=victim.play, args=(BY_ID[name], BY_ID[name].connections, 8.0))
        for name in TOGETHER
    ]
    for attacker in attackers:
        attacker.start()
    time.sleep(4)  # they have begun
    assert victim.close() == 0
    for attacker in attackers:
        attacker.join()
    assert "Traceback" not in victim.process.log()
