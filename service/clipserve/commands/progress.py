"""Shows the progress of a long command on standard error: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 10.0  # between two lines


class Shown:
    """Shows progress in its block. `total` may become known after the first items. Counts are items."""

    def __init__(self, what: str) -> None:
        """`what`: the kind of items, in the plural."""
        self._what = what
        self.total: int | None = None
        self.ended = False
        self.done = self.failed = self.kept = 0
        self._began = self._said = time.monotonic()
        console = Console(stderr=True, highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self.ended = True

    def advance(self, *, failed: bool = False, kept: bool = False) -> None:
        """Count one more item. `kept`: it is from an earlier run, and does not count in the bar and the rate."""
        self.done += 1
        self.failed += failed
        self.kept += kept
        if kept:
            return
        now, made = time.monotonic(), self.done - self.kept
        rate = f"{made / max(now - self._began, 0.1):.1f}/s"
        rate += f", {self.failed:,} failed" if self.failed else ""
        if not self._bar.disable:
            total = None if self.total is None else self.total - self.kept
            self._bar.update(self._task, completed=made, total=total, description=rate)
        elif now - self._said >= _LINE_SECONDS:
            self._said = now
            of = "" if self.total is None else f" of {self.total:,}"
            self._bar.console.print(f"{self.done:,}{of} {self._what}, {rate}", soft_wrap=True)
