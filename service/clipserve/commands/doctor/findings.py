"""Findings of checks, and their run: a check that hangs or raises becomes a line of the report, not its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from clipserve.concurrency import in_own_thread

Level = Literal["ok", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")  # from best to worst


@dataclass(frozen=True)
class Finding:
    """One line of a report. `do`: what to do about it; None if it is ok."""

    level: Level
    found: str
    do: str | None = None


ok = partial(Finding, "ok")  # as it should be
warning = partial(Finding, "warning")  # it serves, but not as well as it could, or not under every load
problem = partial(Finding, "problem")  # it does not serve, or not as set


def worst(lines: Iterable[Finding]) -> Level:
    """The worst level of these lines."""
    return max((line.level for line in lines), key=LEVELS.index, default="ok")


@dataclass(frozen=True)
class Outcome:
    """The findings of one check. `ended`: False if it did not end in time."""

    name: str
    level: Level
    seconds: float
    ended: bool
    lines: list[Finding]


@dataclass(frozen=True)
class Check:
    """A row of a table of checks.

    Attributes:
        name: one word, for `--only`.
        find: yields findings; may raise anything. Its argument is a `Context` or a `Server`.
        seconds: its timeout.
    """

    name: str
    find: Callable[[Any], Iterable[Finding]]
    seconds: float = 30.0

    def run(self, context: object) -> Outcome:
        """Run a check in a thread, and abandon the thread if it hangs: one in a system call cannot be ended."""
        lines: list[Finding] = []
        began = time.monotonic()
        work = in_own_thread(f"check_{self.name}", self._collect, context, lines)
        wait([work], self.seconds)
        ended, found = work.done(), [*lines]
        if not ended:
            what = f"the check did not end within {self.seconds:g} s, and was left behind"
            found.append(problem(what, "look at what it asks (docs/doctor.md); the other checks go on"))
        elif error := work.exception():  # also a library's SystemExit: a line, not the end
            reason = " ".join(str(error).split())[:500]
            what = f"the check itself failed: {type(error).__name__}: {reason}".removesuffix(": ")
            do = (
                "this is a bug of clipserve, or a case that it does not know: report it with the output of "
                "`clipserve doctor --json`"
            )
            found.append(problem(what, do))
        return Outcome(self.name, worst(found), round(time.monotonic() - began, 3), ended, found)

    def _collect(self, context: object, lines: list[Finding]) -> None:
        for line in self.find(context):
            lines.append(line)  # one by one, to report findings from before it hangs
