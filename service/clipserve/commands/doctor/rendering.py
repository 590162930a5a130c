"""A report for people."""

from __future__ import annotations

from collections.abc import Iterator

from clipserve.commands.doctor.findings import Level, Outcome, Report
from clipserve.commands.printing import visible

_COLOURS: dict[Level, int] = {"ok": 32, "warning": 33, "problem": 31}  # ANSI
_WIDTH = len("operations")


def as_text(report: Report) -> str:
    """All lines of it."""
    lines = [line for outcome in report.outcomes for line in lines_of(outcome)]
    return (
        "\n".join(
            [
                f"clipserve {report.clipserve}, {visible(report.examined)}, {report.at}",
                *lines,
                summary(report),
            ]
        )
        + "\n"
    )


def lines_of(outcome: Outcome, *, colour: bool = False) -> Iterator[str]:
    """A line for each finding, and one below it that says what to do."""
    for finding in outcome.findings:
        level = f"{finding.level:<7}"
        if colour:
            level = f"\033[{_COLOURS[finding.level]}m{level}\033[0m"
        yield f"{level}  {outcome.name:<{_WIDTH}}  {visible(finding.found)}"
        if finding.do:
            yield f"{'':7}  {'':{_WIDTH}}  -> {visible(finding.do)}"


def summary(report: Report) -> str:
    """How many of each."""
    problems, warnings = report.count("problem"), report.count("warning")
    if not problems and not warnings:
        return "all is well"
    return f"{_number(problems, 'problem')}, {_number(warnings, 'warning')}"


def _number(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
