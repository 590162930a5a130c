"""Attacks on a process that may have two gigabytes of addresses: it needs 1.1 of them to serve photos.

What cannot be allocated is an error of one request, never the end of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import CHOSEN
from tests.abuse.bar import outlived
from tests.abuse.victim import Victim

KIB = 2_000_000


@pytest.fixture(scope="module")
def confined() -> Iterator[Victim]:
    # On a busy machine no good request is refused because it is late; the dearest attack still is.
    late: Any = {"deadline_seconds": 30, "max_queue_seconds": 30}
    victim = Victim("bash", "-c", f'ulimit -v {KIB}; exec "$@"', "-", backend="onnx", **late)
    yield victim
    assert victim.close() == 0


# Two thousand requests one after the other take half a minute, and leave no more behind than hundreds do; nor do
# messages that are withheld for as long.
LONG = ("caches", "health and reflection")
BRIEF = [replace(attack, patience=3.0) if attack.kind in LONG else attack for attack in CHOSEN]
WHOLE = [
    pytest.param(attack, id=f"{attack.id}, all", marks=pytest.mark.nightly)
    for attack in CHOSEN
    if attack not in BRIEF
]


@pytest.mark.parametrize("attack", [*(pytest.param(attack, id=attack.id) for attack in BRIEF), *WHOLE])
def test_a_process_of_two_gigabytes_outlives_an_attack(confined: Victim, attack: Attack) -> None:
    verdict = outlived(confined, attack, many_seconds=float(attack.slow))
    assert not verdict.died
    # 504: a busy machine has answered none of those in time.
    assert [status for status in verdict.statuses if status >= 500 and status != 504] == []
    assert not [fault for fault in verdict.faults if "next good" in fault]
