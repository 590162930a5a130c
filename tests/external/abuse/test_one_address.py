"""One address has hundreds and thousands of connections in closed loops: another has its answers, in time."""

from __future__ import annotations

import resource

import pytest

from tests.abuse.loops import ROUTES, loops
from tests.abuse.scenario import good_clients, seen_for
from tests.abuse.victim import Victim

pytestmark = pytest.mark.nightly

SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.mark.parametrize("connections", [540, 5_000])
@pytest.mark.parametrize("route", ROUTES)
def test_another_address_has_its_answers(victim: Victim, route: str, connections: int) -> None:
    with (
        good_clients(victim.address, 1, route) as clients,
        loops(victim.address, connections, route, "127.0.0.2"),
    ):
        company = seen_for(clients, SECONDS)
    lost = f"{company.lost:.0%} lost, p99 {company.p99:.2f} s" if company.probes else "none answered"
    print(f"{len(company.probes)} requests of another address: {lost}")
    assert company.probes
    assert company.lost <= 0.05, company.statuses
    assert company.p99 < 1.0, f"{company.p99:.2f} s"
    victim.rest()
