"""`python -m tests.access.guesses`: does the time of a refusal depend on how a guess is wrong?

The method is dudect's (Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?", DATE 2017): guesses of
several classes in random order, each timed, and Welch's t-test of each class against the first. |t| above 4.5 says
that the times differ. Long times are left out, because they are the machine's: the 10 % that took longest.

The two classes that could tell something of a key are those that are wrong in one character, at the beginning or at
the end. Whoever guesses knows the length and the form of a guess: the other two are shown, and need not be equal.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from clipserve.access.keys import Keys
from tests.access.support import made

_THRESHOLD = 4.5
_KEPT = 0.9
Times = npt.NDArray[np.int64]


def classes() -> tuple[Keys, dict[str, str | None]]:
    """Ten keys, and guesses at one of them."""
    pairs = [made(f"key-{i}") for i in range(10)]
    key = pairs[4][0]
    first, last = ("A" if key[place] != "A" else "B" for place in (5, -1))
    guesses = {
        "wrong at the first character": f"Bearer {key[:5]}{first}{key[6:]}",
        "wrong at the last character": f"Bearer {key[:-1]}{last}",
        "half as long": f"Bearer {key[:24]}",
        "none": None,
    }
    return Keys(kept for _, kept in pairs), guesses


def timed(keys: Keys, guesses: Mapping[str, str | None], count: int) -> dict[str, Times]:
    """Nanoseconds of so many guesses in all, by class."""
    names, headers = list(guesses), list(guesses.values())
    order = np.random.default_rng(1).integers(0, len(names), count)
    nanoseconds = np.empty(count, np.int64)
    find, clock = keys.find, time.perf_counter_ns
    gc.disable()
    for i, chosen in enumerate(order.tolist()):
        header = headers[chosen]
        begun = clock()
        find(header)
        nanoseconds[i] = clock() - begun
    gc.enable()
    usual = nanoseconds <= np.quantile(nanoseconds, _KEPT)
    return {name: nanoseconds[(order == i) & usual] for i, name in enumerate(names)}


def welch(one: Times, other: Times) -> float:
    """Welch's t of the difference of two means."""
    spread = np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
    return float((one.mean() - other.mean()) / spread)


def main(guesses: Annotated[int, typer.Option(help="In all.")] = 1_000_000) -> None:
    keys, chosen = classes()
    timed(keys, chosen, min(guesses, 20_000))  # warm up
    times = timed(keys, chosen, guesses)
    first, *others = times
    print(f"{guesses:,} guesses, 10 keys\n\n| guess | mean, ns | t |\n| --- | --: | --: |")
    for name in times:
        t = "" if name == first else f"{welch(times[name], times[first]):+.2f}"
        print(f"| {name} | {times[name].mean():,.1f} | {t} |")
    worst = abs(welch(times[others[0]], times[first]))
    print(
        f"\n|t| of the first two is {worst:.2f}; above {_THRESHOLD} the time would tell where a guess is wrong."
    )
    sys.exit(worst > _THRESHOLD)


if __name__ == "__main__":
    typer.run(main)
