"""Findings of checks: a value, and whether it is within its bound, if there is one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.report import table

_WORDS = {True: "held", False: "REFUTED", None: ""}


@dataclass(frozen=True)
class Line:
    """A finding. `bound`: the condition for `value` in words, or "". `passed`: None without a bound."""

    part: str
    what: str
    value: str
    bound: str = ""
    passed: bool | None = None


def at_least(part: str, what: str, value: float, bound: float) -> Line:
    """A line that passes if `value` is at least the bound; NaN fails."""
    return Line(part, what, f"{value:.7f}", f">= {bound}", value >= bound)


@dataclass
class Findings:
    """All findings. `facts`: of the machine. `path`: of the JSON file."""

    path: Path
    facts: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def add(self, lines: Iterable[Line]) -> None:
        """Store, print and write each line as it is measured: later checks may fail, or the run may be ended."""
        for line in lines:
            self.lines.append(line)
            self.write()
            print(f"{_WORDS[line.passed]:8}{line.part}: {line.what}: {line.value} {line.bound}", flush=True)

    @contextmanager
    def trying(self, part: str, what: str) -> Iterator[None]:
        """Turn an exception of the block into a failed line and continue: the next run may be days away."""
        try:
            yield
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())[:500]
            self.add([Line(part, what, f"{type(error).__name__}: {said}", "it ends", passed=False)])

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.passed is False]

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = {"facts": self.facts, "lines": [vars(line) for line in self.lines]}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        new.replace(self.path)  # atomic

    def as_markdown(self) -> str:
        """The machine, and the lines."""
        lines = ([x.part, x.what, x.value, x.bound, _WORDS[x.passed]] for x in self.lines)
        tables = [table(("", ""), self.facts.items()), table(("", "", "value", "bound", ""), lines)]
        return "\n\n".join(tables) + "\n"
