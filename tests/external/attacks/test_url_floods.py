"""Floods of images by URL, by one address or one key, and what others lose by them: next to nothing."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.abuse import hostile_host, keys
from tests.abuse.bar import MOST_LIVEZ_SECONDS
from tests.abuse.flood import asking, flood
from tests.abuse.probe import percentile
from tests.abuse.victim import Victim
from tests.abuse.wire import play

SECONDS, LEAST = 8.0, 20  # of requests by others, and how many at least
# How many connections, what they ask for, and seconds until they ask again.
FLOODS = {"silent": (400, "/silent", 5.0), "photos": (60, "/photo", 0.5), "hints": (60, "/hints", 0.5)}


def good_answers(victim: Victim, source: str, key: str = "-") -> Counter[int]:
    """The statuses of requests for a photo by URL, one after the other from another address."""
    statuses, until = Counter[int](), time.monotonic() + SECONDS
    wire = asking(hostile_host.url(nice=0) + "/photo", 1, key)
    while time.monotonic() < until or statuses.total() < LEAST:
        answers = play(victim.address, [wire], 1, 30, source).answers
        statuses[answers[0].status if answers else 0] += 1
        time.sleep(0.2)
    return statuses


@pytest.mark.parametrize("kind", FLOODS)
def test_an_address_that_floods_costs_others_nothing(victim: Victim, kind: str) -> None:
    if flooded_once(victim, *FLOODS[kind]) >= MOST_LIVEZ_SECONDS:  # a pause of the machine's own comes once
        again = [flooded_once(victim, *FLOODS[kind]) for _ in range(2)]
        assert max(again) < MOST_LIVEZ_SECONDS


def flooded_once(victim: Victim, count: int, path: str, pause: float) -> float:
    """Seconds of /livez at the 99th percentile; others are answered."""
    started = time.monotonic()
    with flood(victim.address, count, path, "127.0.0.3", "127.0.0.4", pause=pause) as flooded:
        statuses = good_answers(victim, "127.0.0.2")
    livez = percentile([probe.seconds for probe in victim.prober.between(started, time.monotonic())])
    print("others:", dict(statuses), "flood:", dict(flooded), f"/livez p99 {livez:.3f} s")
    assert statuses[200] >= 0.95 * statuses.total() > 0
    assert not {status for status in flooded if status.startswith("5")}
    return livez


def test_a_key_of_five_rows_a_second_costs_others_nothing(keyed_victim: Victim) -> None:
    keys.both()
    time.sleep(keys.SECONDS)
    with flood(keyed_victim.address, 100, "/photo", "127.0.0.3", pause=0.5, key=keys.REVOKED) as flooded:
        statuses = good_answers(keyed_victim, "127.0.0.2", keys.GOOD)
    print("others:", dict(statuses), "flood:", dict(flooded))
    assert statuses[200] >= 0.95 * statuses.total() > 0
    assert flooded["429"] > 10 * flooded["200"]
