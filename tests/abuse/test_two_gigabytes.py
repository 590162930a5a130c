"""Attacks on a process that may have two gigabytes of addresses: it needs 1.1 of them to serve photos.

What cannot be allocated is an error of one request, never the end of the process.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import CHOSEN
from tests.abuse.bar import attacked
from tests.abuse.victim import Victim

pytestmark = [pytest.mark.abuse, pytest.mark.attacks]

KIB = 2_000_000


@pytest.fixture(scope="module")
def confined() -> Iterator[Victim]:
    victim = Victim("bash", "-c", f'ulimit -v {KIB}; exec "$@"', "-", backend="onnx")
    yield victim
    assert victim.close() == 0


@pytest.mark.parametrize("attack", CHOSEN, ids=[attack.id for attack in CHOSEN])
def test_a_process_of_two_gigabytes_outlives_an_attack(confined: Victim, attack: Attack) -> None:
    verdict = attacked(confined, attack, many_seconds=float(attack.slow))
    assert not verdict.died
    assert [status for status in verdict.statuses if status >= 500] == []
    assert not [fault for fault in verdict.faults if "next good" in fault]
