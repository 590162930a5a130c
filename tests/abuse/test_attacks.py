"""Each attack once: refused or served, at a bounded cost, and nothing else is held up."""

from __future__ import annotations

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import ATTACKS, CHOSEN
from tests.abuse.bar import attacked
from tests.abuse.victim import Victim


def named(attacks: list[Attack]) -> pytest.MarkDecorator:
    cases = [
        pytest.param(attack, id=attack.id, marks=[pytest.mark.nightly] * attack.nightly) for attack in attacks
    ]
    return pytest.mark.parametrize("attack", cases)


@pytest.mark.slow
@named([attack for attack in ATTACKS if attack.quick])
def test_an_attack_costs_little_and_is_answered(victim: Victim, attack: Attack) -> None:
    assert attacked(victim, attack).faults == []


@pytest.mark.abuse
@named([attack for attack in ATTACKS if attack.keyed])
def test_a_key_that_is_taken_away_costs_no_more(keyed_victim: Victim, attack: Attack) -> None:
    assert attacked(keyed_victim, attack).faults == []


@pytest.mark.abuse
@named([attack for attack in CHOSEN if not attack.keyed])
def test_an_attack_costs_little_and_eight_clients_of_it_hold_nobody_up(
    victim: Victim, attack: Attack
) -> None:
    assert attacked(victim, attack, many_seconds=1.0).faults == []


def test_no_two_attacks_have_one_name() -> None:
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)
