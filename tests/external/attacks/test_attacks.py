"""Hostile inputs, each once and then on many connections: one bar for all of them, see `tests.abuse.victim`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse import image_rows, request_rows, rpc_rows, transport_rows
from tests.abuse.attack import Attack
from tests.abuse.victim import Victim

ROWS = (image_rows, request_rows, transport_rows, rpc_rows)


@pytest.fixture(scope="session")
def victim() -> Iterator[Victim]:
    """One for all: what an attack leaves behind, the next ones find."""
    victim = Victim()
    yield victim
    assert victim.close() == 0


@pytest.mark.parametrize(
    "attack", [pytest.param(each, id=each.id) for rows in ROWS for each in rows.attacks()]
)
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
