"""How far a long command is, on standard error: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # loaded when a command runs
    from rich.progress import Progress, TaskID

_LINE_SECONDS = 10.0  # between two lines
_RATE_SECONDS = 20.0  # of work that the rate is about


class Shown:
    """A context; `total` may be known later than the first items. Counts are of items."""

    def __init__(self, what: str, total: int | None = None) -> None:
        """`what`: items of which kind, in the plural."""
        self._what = what
        self.total = total
        self.done = self.failed = self.kept = 0
        self._said = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque([(self._said, 0)])  # (time, items embedded by then)
        self._stack = ExitStack()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        if console.is_terminal:
            columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}")
            self._bar = self._stack.enter_context(Progress(*columns, console=console, transient=True))
            self._task = self._bar.add_task(self._what, total=self.total, told="")
        else:
            self._console = console
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, *, failed: bool = False, kept: bool = False) -> None:
        """One item more is done; `kept`: by an earlier run."""
        self.done += 1
        self.failed += failed
        self.kept += kept
        now = time.monotonic()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.done - self.kept))
            while now - self._marks[0][0] > _RATE_SECONDS and len(self._marks) > 2:
                self._marks.popleft()
        if self._bar is not None and self._task is not None:
            if self.done % 8 == 0 or self.done == self.total:
                self._bar.update(self._task, completed=self.done, total=self.total, told=self._told())
        elif now - self._said >= _LINE_SECONDS:
            self._said = now
            of = "" if self.total is None else f" of {self.total:,}"
            self._console.print(
                f"{self.done:,}{of} {self._what}, {self._told()}", highlight=False, soft_wrap=True
            )

    def _told(self) -> str:
        """Rate, time left, failures."""
        (first, before), (last, now) = self._marks[0], self._marks[-1]
        rate = (now - before) / (last - first) if last > first else 0.0
        told = [f"{rate:.1f}/s"]
        if rate and self.total is not None:
            minutes, seconds = divmod(round(max(0, self.total - self.done) / rate), 60)
            told.append(f"{minutes}:{seconds:02d} left")
        if self.failed:
            told.append(f"{self.failed:,} failed")
        return ", ".join(told)
