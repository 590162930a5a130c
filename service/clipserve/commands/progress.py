"""How far a long command is, on standard error: a bar in a terminal, else a line now and then."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_UPDATE_SECONDS = 0.1  # between two looks at the rate
_LINE_SECONDS = 10.0  # between two lines
_RATE_SECONDS = 20.0  # of work that the rate is about


class Shown:
    """A context; `total` may be known later than the first items. Counts are of items."""

    def __init__(self, what: str) -> None:
        """`what`: items of which kind, in the plural."""
        self._what = what
        self.total: int | None = None
        self.ended = False
        self.done = self.failed = self.kept = 0
        self._updated = self._said = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            *(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}")),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            speed_estimate_period=_RATE_SECONDS,
        )
        self._task = self._bar.add_task(what, total=None, told="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self.ended = True

    def advance(self, *, failed: bool = False, kept: bool = False) -> None:
        """One item more is done; `kept`: by an earlier run, and no part of the bar and of the rate."""
        self.done += 1
        self.failed += failed
        self.kept += kept
        now = time.monotonic()
        if kept or now - self._updated < _UPDATE_SECONDS:
            return
        self._updated = now
        total = None if self.total is None else self.total - self.kept
        self._bar.update(self._task, completed=self.done - self.kept, total=total, told=self._told())
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            of = "" if self.total is None else f" of {self.total:,}"
            self._console.print(f"{self.done:,}{of} {self._what}, {self._told()}", soft_wrap=True)

    def _told(self) -> str:
        """Rate, time left, failures."""
        (task,) = self._bar.tasks
        told = [f"{task.speed or 0:.1f}/s"]
        if task.time_remaining is not None:
            told.append(f"{timedelta(seconds=round(task.time_remaining))} left")
        if self.failed:
            told.append(f"{self.failed:,} failed")
        return ", ".join(told)
