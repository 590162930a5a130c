"""A leak is told from noise and from a single step."""

from __future__ import annotations

import random

import pytest

from tests.trends import slope

NOISE = random.Random(0)
SIZES = [100_000 + NOISE.uniform(-100, 100) for _ in range(25)]  # KiB of a process that does not grow


def test_a_leak_is_seen_through_noise() -> None:
    assert slope([size + 61 * number for number, size in enumerate(SIZES)]) == pytest.approx(61, abs=5)
    assert slope([61.0 * number for number in range(25)]) == 61


@pytest.mark.parametrize("after", [3, 6, 19, 22])
def test_a_single_step_of_two_megabytes_is_no_leak(after: int) -> None:
    """An arena of the allocator, which is taken once."""
    assert abs(slope([size + 2048 * (number >= after) for number, size in enumerate(SIZES)])) < 20
