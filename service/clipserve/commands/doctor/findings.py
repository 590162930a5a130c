"""What checks find, and how they are run: one that hangs or raises becomes a line of the report, not its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """One line of a report. `do`: what to do about it; None where it is ok."""

    level: Level
    found: str
    do: str | None = None


ok = partial(Finding, "ok")  # as it should be
warning = partial(
    Finding, "warning"
)  # it serves all the same, but worse than it could, or not under every load
problem = partial(Finding, "problem")  # it does not serve, or not as the settings say


@dataclass(frozen=True)
class Outcome:
    """What one check found. `ended`: False where it did not end in its time."""

    name: str
    level: Level
    seconds: float
    ended: bool
    lines: list[Finding]


@dataclass(frozen=True)
class Check:
    """A row of a table of checks.

    Attributes:
        name: one word; `--only` takes it.
        find: gives what it finds, line by line; may raise anything. Its argument is a `Context`, or a `Server`.
        seconds: the time that it may take.
    """

    name: str
    find: Callable[[Any], Iterable[Finding]]
    seconds: float = 5.0

    def run(self, context: object) -> Outcome:
        """In a thread, which is left behind if it hangs: one that waits for the system cannot be ended."""
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
                lines.append(line)  # one by one: what is found before it hangs is told
        except BaseException as error:  # SystemExit of a library too: it is a line, not the end
            said = " ".join(str(error).split())[:500]
            lines.append(
                problem(
                    f"the check itself failed: {type(error).__name__}: {said}".removesuffix(": "),
                    "this is a fault of clipserve, or something that it did not think of: report it with the "
                    "output of `clipserve doctor --json`",
                )
            )
