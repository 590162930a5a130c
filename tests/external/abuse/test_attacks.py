"""Each attack while others work, and with its costs."""

from __future__ import annotations

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import ATTACKS, CHOSEN
from tests.abuse.bar import attacked
from tests.abuse.fixtures import named
from tests.abuse.victim import Victim


@named([attack for attack in ATTACKS if attack.keyed])
def test_a_key_that_is_taken_away_costs_no_more(keyed_victim: Victim, attack: Attack) -> None:
    assert attacked(keyed_victim, attack).faults == []


@named([attack for attack in CHOSEN if not attack.keyed])
def test_an_attack_costs_little_and_eight_clients_of_it_hold_nobody_up(
    victim: Victim, attack: Attack
) -> None:
    assert attacked(victim, attack, many_seconds=1.0).faults == []
