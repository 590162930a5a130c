"""The table of attacks."""

from __future__ import annotations

from tests.abuse.attacks.table import ATTACKS


def test_no_two_attacks_have_one_name() -> None:
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)
