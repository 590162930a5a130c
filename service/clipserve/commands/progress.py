"""Shows the progress of a long command on standard error: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_UPDATE_SECONDS = 0.1  # between two updates of the rate
_LINE_SECONDS = 10.0  # between two lines
_RATE_SECONDS = 20.0  # window of the rate


class Shown:
    """Shows progress in its block. `total` may become known after the first items. Counts are items."""

    def __init__(self, what: str) -> None:
        """`what`: the kind of items, in the plural."""
        self._what = what
        self.total: int | None = None
        self.ended = False
        self.done = self.failed = self.kept = 0
        self._updated = self._said = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            *(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            speed_estimate_period=_RATE_SECONDS,
        )
        self._task = self._bar.add_task(what, total=None, rate="")

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
        now = time.monotonic()
        if kept or now - self._updated < _UPDATE_SECONDS:
            return
        self._updated = now
        total = None if self.total is None else self.total - self.kept
        self._bar.update(self._task, completed=self.done - self.kept, total=total, rate=self._rate())
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            of = "" if self.total is None else f" of {self.total:,}"
            self._console.print(f"{self.done:,}{of} {self._what}, {self._rate()}", soft_wrap=True)

    def _rate(self) -> str:
        """The rate, the time left, and the failures."""
        (task,) = self._bar.tasks
        parts = [f"{task.speed or 0:.1f}/s"]
        if task.time_remaining is not None:
            parts.append(f"{timedelta(seconds=round(task.time_remaining))} left")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        return ", ".join(parts)
