"""Floods of images by URL, by one address or one key, and what others lose by them: next to nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.abuse import hostile_host, keys
from tests.abuse.bar import MOST_LIVEZ_SECONDS
from tests.abuse.fixtures import opened
from tests.abuse.flood import asking, flood
from tests.abuse.probe import most_seconds, percentile
from tests.abuse.victim import Victim
from tests.abuse.wire import play
from tests.process import metric, waited_until

PATIENT: dict[str, Any] = {"deadline_seconds": 300, "max_queue_seconds": 60, "fetch_seconds": 60}
SECONDS, LEAST = 8.0, 20  # of requests by others, and how many at least
# How many connections, what they ask for, and seconds until they ask again.
FLOODS = {"silent": (400, "/silent", 5.0), "photos": (60, "/photo", 0.5)}


@pytest.fixture(scope="module")
def patient() -> Iterator[Victim]:
    """It refuses nothing because a machine is busy: what others lose is lost by the flood."""
    yield from opened(Victim(backend="onnx", **PATIENT))


@pytest.fixture(scope="module")
def keyed() -> Iterator[Victim]:
    """The same, which asks for keys."""
    yield from opened(Victim(backend="onnx", keyed=True, **PATIENT))


def good_answers(victim: Victim, source: str, key: str = "-") -> Counter[int]:
    """The statuses of requests for a photo by URL, one after the other from another address."""
    statuses, until = Counter[int](), time.monotonic() + SECONDS
    wire = asking(hostile_host.url(nice=0) + "/photo", 1, key)
    while time.monotonic() < until or statuses.total() < LEAST:
        answers = play(victim.address, [wire], 1, 120, source).answers
        statuses[answers[0].status if answers else 0] += 1
        time.sleep(0.2)
    return statuses


@pytest.mark.parametrize("kind", FLOODS)
def test_an_address_that_floods_costs_others_nothing(patient: Victim, kind: str) -> None:
    # Pauses of the machine's own do not come each time.
    assert any(flooded_once(patient, *FLOODS[kind]) for _ in range(3))


def flooded_once(victim: Victim, count: int, path: str, pause: float) -> bool:
    """Whether /livez is quick at the 99th percentile; others are answered."""
    started = time.monotonic()
    with flood(victim.address, count, path, "127.0.0.3", "127.0.0.4", pause=pause) as flooded:
        statuses = good_answers(victim, "127.0.0.2")
    probes = victim.prober.between(started, time.monotonic())
    livez, most = percentile([probe.seconds for probe in probes]), most_seconds(probes, MOST_LIVEZ_SECONDS)
    print("others:", dict(statuses), "flood:", dict(flooded), f"/livez p99 {livez:.3f} of {most:.3f} s")
    assert statuses[200] >= 0.95 * statuses.total() > 0
    assert not {status for status in flooded if status.startswith("5")}
    return livez < most


def test_a_key_of_five_rows_a_second_costs_others_nothing(keyed: Victim) -> None:
    with flood(keyed.address, 100, "/photo", "127.0.0.3", pause=0.5, key=keys.REVOKED) as flooded:
        statuses = good_answers(keyed, "127.0.0.2", keys.GOOD)
        # A busy machine leaves the flood little of its cores.
        waited_until(
            lambda: counted(keyed, "rate_limited") > 10 * max(1, counted(keyed, "200") - statuses[200])
        )
    print("others:", dict(statuses), "flood:", dict(flooded))
    assert statuses[200] >= 0.95 * statuses.total() > 0


def counted(victim: Victim, outcome: str) -> float:
    """Requests for vectors that have ended so."""
    return metric(victim.process, f'clipserve_requests_total{{endpoint="/embed",outcome="{outcome}"}}')
