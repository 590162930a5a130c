"""What was found, line by line: a value, and where there is a bound, whether it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    """`facts`: what the machine is. `speeds`: rows a second, a dict for each measurement."""

    device: str
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
        self.speeds.append(measured)
        print("     ", ", ".join(f"{key} {_short(value)}" for key, value in measured.items()), flush=True)

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

    def write(self, folder: Path, name: str) -> Path:
        """`bare-NAME.json` in `folder`."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        path = folder / f"bare-{slug}.json"
        folder.mkdir(parents=True, exist_ok=True)
        data = {
            "device": self.device,
            "facts": self.facts,
            "lines": [vars(line) for line in self.lines],
            "speeds": self.speeds,
        }
        path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        return path

    def as_markdown(self) -> str:
        """Three tables: the machine, the lines with a bound or a value, the speeds."""
        return "\n\n".join(self._tables()) + "\n"

    def _tables(self) -> Iterator[str]:
        yield table(("", ""), self.facts.items())
        words = {True: "holds", False: "**fails**", None: ""}
        yield table(
            ("", "", "value", "bound", ""),
            ((each.part, each.what, each.value, each.bound, words[each.passed]) for each in self.lines),
        )
        columns = list(dict.fromkeys(key for speed in self.speeds for key in speed))
        if columns:
            rows = ([_short(speed.get(key, "")) for key in columns] for speed in self.speeds)
            yield table(columns, rows)


def _short(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
