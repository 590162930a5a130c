"""Checks, each run in its time: one that hangs or raises becomes a line of the report, not its end.

A thread that hangs in a system call cannot be ended, so it is left behind. Checks do not run side by side: they
would share cores with the self-test, which is timed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clipserve.commands.doctor.findings import Finding, Outcome, problem

C = TypeVar("C")


@dataclass(frozen=True)
class Check(Generic[C]):
    """A row of a table of checks.

    Attributes:
        name: one word; `--only` takes it.
        run: gives what it finds, line by line; may raise anything.
        looks_at: for docs/doctor.md, as is `bad`.
        bad: what is a warning or a problem.
        seconds: the time that it may take.
        decisive: where it finds a problem, those behind it in the table are not run.
    """

    name: str
    run: Callable[[C], Iterable[Finding]]
    looks_at: str
    bad: str
    seconds: float = 5.0
    decisive: bool = False


def run_checks(checks: Sequence[Check[C]], context: C) -> Iterator[Outcome]:
    """Run one after the other; the outcome of each as soon as it is there."""
    for check in checks:
        outcome = _run(check, context)
        yield outcome
        if check.decisive and outcome.level == "problem":
            return


@dataclass
class _Run(Generic[C]):
    """A check in a thread of its own, which is left behind if it hangs."""

    check: Check[C]
    context: C
    findings: list[Finding] = field(default_factory=list)

    def __call__(self) -> None:
        try:
            for finding in self.check.run(self.context):
                self.findings.append(finding)
        except BaseException as error:  # SystemExit of a library too: it is a line, not the end
            said = " ".join(str(error).split())[:500]
            self.findings.append(
                problem(
                    f"the check itself failed: {type(error).__name__}{': ' + said if said else ''}",
                    "this is a fault of clipserve, or something that it did not think of: report it "
                    "(`clipserve doctor --bundle report.zip`)",
                )
            )


def _run(check: Check[C], context: C) -> Outcome:
    run = _Run(check, context)
    thread = threading.Thread(target=run, name=f"check-{check.name}", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(check.seconds)
    ended = not thread.is_alive()
    findings = list(run.findings)
    if not ended:
        findings.append(
            problem(
                f"it did not end within {check.seconds:g} s, and was left behind",
                f"look at what it asks: {check.looks_at}. The other checks do not depend on it",
            )
        )
    return Outcome(check.name, tuple(findings), time.monotonic() - began, ended)
