"""One hostile client beside four good ones: they lose next to nothing, and wait little longer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import BY_ID, FEW
from tests.abuse.probe import Prober
from tests.abuse.scenario import Company, good_clients, hostile_client, seen_for
from tests.abuse.victim import Victim

SECONDS = float(os.environ.get("ABUSE_SECONDS", "5"))


@pytest.fixture(scope="module")
def good(victim: Victim) -> Iterator[list[Prober]]:
    with good_clients(victim.address, 4) as clients:
        yield clients


@pytest.fixture(scope="module")
def usual(good: list[Prober]) -> Company:
    company = seen_for(good, 2 * SECONDS)
    assert company.lost == 0
    return company


@pytest.mark.parametrize("name", FEW)
def test_good_clients_beside_a_hostile_one(
    victim: Victim, good: list[Prober], usual: Company, name: str
) -> None:
    attack: Attack = BY_ID[name]
    with hostile_client(victim.process, attack):
        company = seen_for(good, SECONDS)
    assert victim.process.popen.poll() is None
    assert company.lost <= 0.01, company.statuses
    assert company.p99 < 5 * usual.p99, f"{company.p99:.2f} s instead of {usual.p99:.2f} s"
