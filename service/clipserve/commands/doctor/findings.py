"""Findings of checks, and their run: a check that hangs or raises becomes a line of the report, not its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

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
    seconds: float = 5.0

    def run(self, context: object) -> Outcome:
        """Run a check in a thread, and abandon the thread if it hangs: one in a system call cannot be ended."""
        work: list[Finding] = []
        thread = threading.Thread(target=self._work, args=(context, work), daemon=True)
        began = time.monotonic()
        thread.start()
        thread.join(self.seconds)
        ended, lines = not thread.is_alive(), list(work)
        if not ended:
            found = f"the check did not end within {self.seconds:g} s, and was left behind"
            lines.append(problem(found, "look at what it asks (docs/doctor.md); the other checks go on"))
        level = max((line.level for line in [ok(""), *lines]), key=LEVELS.index)
        return Outcome(self.name, level, round(time.monotonic() - began, 3), ended, lines)

    def _work(self, context: object, lines: list[Finding]) -> None:
        try:
            for line in self.find(context):
                lines.append(line)  # one by one, to report findings from before it hangs
        except BaseException as error:  # also a library's SystemExit: a line, not the end
            said = " ".join(str(error).split())[:500]
            lines.append(
                problem(
                    f"the check itself failed: {type(error).__name__}: {said}".removesuffix(": "),
                    "this is a bug of clipserve, or a case that it does not know: report it with the "
                    "output of `clipserve doctor --json`",
                )
            )
