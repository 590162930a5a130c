"""Each attack once: refused or served, at a bounded cost, and nothing else is held up."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import ATTACKS
from tests.abuse.bar import attacked
from tests.abuse.fixtures import named
from tests.abuse.victim import Victim


@named([attack for attack in ATTACKS if attack.quick])
def test_an_attack_costs_little_and_is_answered(victim: Victim, attack: Attack) -> None:
    assert attacked(victim, attack).faults == []
