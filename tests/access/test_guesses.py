"""The measurement of guesses notices what it is made for."""

from __future__ import annotations

import numpy as np
import pytest

from clipserve.access.keys import Key, Keys
from tests.access.guesses import classes, timed, welch


class Naive(Keys):
    """Compares as no service should: character by character, and stops at the first that differs."""

    def __init__(self, key: str) -> None:
        super().__init__([])
        self._key = key

    def find(self, authorization: str | None) -> Key | None:
        for one, other in zip(self._key, (authorization or ""), strict=False):
            if one != other:
                break
        return None


def test_a_comparison_that_stops_early_is_found_out() -> None:
    _, guesses = classes()
    first, last = list(guesses.values())[:2]
    assert first
    assert last
    key = last[:-1] + "-"
    times = timed(Naive(key), {"first": first, "last": last}, 5_000)
    assert welch(times["last"], times["first"]) > 4.5


def test_t_is_that_of_welch() -> None:
    one, other = np.array([10, 12, 14]), np.array([1, 2, 3, 4])
    # (12 - 2.5) / sqrt(4 / 3 + (5 / 3) / 4)
    assert welch(one, other) == pytest.approx(9.5 / 1.3228757, rel=1e-6)
