"""What was found, line by line: a value, and where there is a bound, whether it holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from loadtests.report import table

_WORDS = {True: "held", False: "REFUTED", None: ""}


@dataclass(frozen=True)
class Line:
    """`bound`: what `value` must be, in words; "" where nothing is promised. `passed`: None without a bound."""

    part: str
    what: str
    value: str
    bound: str = ""
    passed: bool | None = None


def at_least(part: str, what: str, value: float, bound: float) -> Line:
    """Passed if `value` is not below; a value that is not a number has failed."""
    return Line(part, what, f"{value:.7f}", f">= {bound}", value >= bound)


@dataclass
class Findings:
    """`facts`: what the machine is. `speeds`: a dict for each measurement. `path`: of the JSON with all of it."""

    path: Path
    facts: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    speeds: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *lines: Line) -> None:
        """Keep, print and write each as soon as it is known: what follows may fail, or the run be cut off."""
        self.add_each(lines)

    def add_each(self, lines: Iterable[Line]) -> None:
        """The same while they are measured."""
        for line in lines:
            self.lines.append(line)
            self.write()
            print(f"{_WORDS[line.passed]:8}{line.part}: {line.what}: {line.value} {line.bound}", flush=True)

    def add_speed(self, **measured: Any) -> None:
        """A measurement. NaN, which JSON does not have, becomes null."""
        self.speeds.append({key: None if value != value else value for key, value in measured.items()})
        self.write()
        print(" " * 7, ", ".join(f"{key} {_short(value)}" for key, value in measured.items()), flush=True)

    @contextmanager
    def trying(self, part: str, what: str) -> Iterator[None]:
        """What the block raises is a line that has failed, and the rest goes on: the next run may be days away."""
        try:
            yield
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())[:500]
            self.add(Line(part, what, f"{type(error).__name__}: {said}", "it ends", passed=False))

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.passed is False]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"facts": self.facts, "lines": [vars(line) for line in self.lines], "speeds": self.speeds}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        new.replace(self.path)  # whole at any time

    def as_markdown(self) -> str:
        """The machine, the lines with a bound or a value, and a table for each kind of speed."""
        lines = ([x.part, x.what, x.value, x.bound, _WORDS[x.passed]] for x in self.lines)
        tables = [table(("", ""), self.facts.items()), table(("", "", "value", "bound", ""), lines)]
        for columns, speeds in groupby(self.speeds, key=tuple):
            tables.append(table(columns, ([_short(value) for value in speed.values()] for speed in speeds)))
        return "\n\n".join(tables) + "\n"


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
