"""One address has more connections than it may, in closed loops, on two routes: another has its answers."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.abuse.attacks.one_address import CONNECTIONS
from tests.abuse.attacks.table import BY_ID
from tests.abuse.bar import attacked
from tests.abuse.fixtures import named
from tests.abuse.victim import Victim

PAIR = [BY_ID[f"one address: {CONNECTIONS} connections in loops: {route}"] for route in ("tokenize", "embed")]


@named(PAIR)
def test_another_address_has_its_answers(victim: Victim, attack: Attack) -> None:
    assert attacked(victim, attack).faults == []
