"""What was found, line by line: a value, and where there is a bound, whether it holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from loadtests.report import table


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
        """Keep them, and print them at once: a run may be cut off."""
        for line in lines:
            self.lines.append(line)
            verdict = {True: "pass", False: "FAIL", None: "    "}[line.passed]
            print(f"{verdict}  {line.part}: {line.what}: {line.value} {line.bound}", flush=True)

    def add_speed(self, **measured: Any) -> None:
        """A measurement. NaN, which JSON does not have, becomes null."""
        self.speeds.append({key: None if value != value else value for key, value in measured.items()})
        print("     ", ", ".join(f"{key} {_short(value)}" for key, value in measured.items()), flush=True)

    @contextmanager
    def trying(self, part: str, what: str) -> Iterator[None]:
        """What the block raises is a line that has failed, and the rest goes on: the next run may be days away.

        The file is written either way.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())[:500]
            self.add(Line(part, what, f"{type(error).__name__}: {said}", "it ends", passed=False))
        self.write()

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.passed is False]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"facts": self.facts, "lines": [vars(line) for line in self.lines], "speeds": self.speeds}
        self.path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")

    def as_markdown(self) -> str:
        """The machine, the lines with a bound or a value, and a table for each kind of speed."""
        words = {True: "holds", False: "**fails**", None: ""}
        lines = ([x.part, x.what, x.value, x.bound, words[x.passed]] for x in self.lines)
        tables = [table(("", ""), self.facts.items()), table(("", "", "value", "bound", ""), lines)]
        for columns, speeds in groupby(self.speeds, key=tuple):
            tables.append(table(columns, ([_short(value) for value in speed.values()] for speed in speeds)))
        return "\n\n".join(tables) + "\n"


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return "-" if math.isnan(value) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
