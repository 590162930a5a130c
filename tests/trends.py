"""The trend of noisy measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations


def slope(values: Sequence[float]) -> float:
    """The change of a value from one to the next: the median of the slopes of all pairs (Theil and Sen).

    It ignores outliers, and a single step in the first or the last quarter: a line of least squares follows both.
    """
    return statistics.median(
        (late - early) / (j - i) for (i, early), (j, late) in combinations(enumerate(values), 2)
    )
