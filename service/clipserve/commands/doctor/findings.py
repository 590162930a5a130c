"""What checks find, and a report of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "problem")  # from good to bad

FORMAT = 1  # of the JSON; a field that is new does not change it


@dataclass(frozen=True)
class Finding:
    """One line of a report. `do`: what to do about it; None where it is ok."""

    level: Level
    found: str
    do: str | None = None


def ok(found: str) -> Finding:
    """As it should be."""
    return Finding("ok", found)


def warning(found: str, do: str) -> Finding:
    """It serves all the same, but worse than it could, or not under every load."""
    return Finding("warning", found, do)


def problem(found: str, do: str) -> Finding:
    """It does not serve, or not as the settings say."""
    return Finding("problem", found, do)


def worst(levels: Sequence[Level]) -> Level:
    return max(levels, key=LEVELS.index, default="ok")


@dataclass(frozen=True)
class Outcome:
    """What one check found. `ended`: False where it did not end in its time."""

    name: str
    findings: tuple[Finding, ...]
    seconds: float
    ended: bool = True

    @property
    def level(self) -> Level:
        return worst([finding.level for finding in self.findings])

    def as_json(self) -> dict[str, Any]:
        lines = [{"level": each.level, "found": each.found, "do": each.do} for each in self.findings]
        return {
            "name": self.name,
            "level": self.level,
            "seconds": round(self.seconds, 3),
            "ended": self.ended,
            "lines": lines,
        }


@dataclass
class Report:
    """All that was found. `examined`: "this machine", or the address of a server; `at`: ISO 8601, UTC."""

    clipserve: str
    examined: str
    at: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def level(self) -> Level:
        return worst([outcome.level for outcome in self.outcomes])

    def count(self, level: Level) -> int:
        """Lines of this level."""
        return sum(each.level == level for outcome in self.outcomes for each in outcome.findings)

    def as_json(self) -> dict[str, Any]:
        """See docs/doctor.md."""
        return {
            "format": FORMAT,
            "clipserve": self.clipserve,
            "examined": self.examined,
            "at": self.at,
            "level": self.level,
            "counts": {level: self.count(level) for level in LEVELS},
            "checks": [outcome.as_json() for outcome in self.outcomes],
        }
