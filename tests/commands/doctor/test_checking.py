"""How checks are run: each in its time, and none is the end of the others."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from clipserve.commands.doctor import findings
from clipserve.commands.doctor.findings import Check, Finding, ok, warning
from tests.process import ROOT


def raises(_: None) -> Iterator[Finding]:
    yield warning("begun", "do it")
    raise SystemExit("a library's\nown end")


def test_a_check_that_hangs_becomes_a_line_behind_those_that_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, end = threading.Event(), threading.Event()

    def hangs(_: None) -> Iterator[Finding]:
        yield ok("begun")
        found.set()
        end.wait(60)

    # The time is over as soon as it has found something; the last test here has a real one.
    monkeypatch.setattr(findings, "wait", lambda *_: found.wait(60))
    outcome = Check("hangs", hangs, 0.2).run(None)
    end.set()
    assert (outcome.ended, outcome.level) == (False, "problem")
    assert [each.level for each in outcome.lines] == ["ok", "problem"]
    assert outcome.lines[1].found == "the check did not end within 0.2 s, and was left behind"


def test_a_check_that_raises_keeps_what_it_found() -> None:
    outcome = Check("raises", raises).run(None)
    assert (outcome.ended, [each.level for each in outcome.lines]) == (True, ["warning", "problem"])
    assert outcome.lines[1].found == "the check itself failed: SystemExit: a library's own end"


_PROGRAM = """
import time
from concurrent.futures import ThreadPoolExecutor
from clipserve.__main__ import cli
from clipserve.commands.doctor import checks
from clipserve.commands.doctor.findings import Check, ok

def good(_):
    yield ok("good")

def hangs(_):
    ThreadPoolExecutor(1).submit(time.sleep, 600).result()  # Python waits for it at its end
    yield

checks.HERE = (Check("hangs", hangs, 0.2), Check("good", good))
cli(["doctor"])
"""


def test_a_check_that_hangs_keeps_neither_the_next_one_nor_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "the check did not end within 0.2 s" in ended.stdout
    assert "\nok\tgood\tgood\n" in ended.stdout
    assert ended.stdout.endswith("\nproblems: 1, warnings: 0\n")
