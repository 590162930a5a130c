"""How checks are run: each in its time, and none is the end of the others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from clipserve.commands.doctor.checking import Check, run_checks
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from tests.process import ROOT


def good(_: None) -> Iterator[Finding]:
    yield ok("good")


def hangs(_: None) -> Iterator[Finding]:
    yield ok("begun")
    time.sleep(60)


def raises(_: None) -> Iterator[Finding]:
    yield warning("begun", "do it")
    raise SystemExit("a library's\nown end")


def bad(_: None) -> Iterator[Finding]:
    yield problem("bad", "do it")


def test_a_check_that_hangs_becomes_a_line_and_the_next_is_run() -> None:
    began = time.monotonic()
    checks = (Check("hangs", hangs, "the moon", "", 0.2), Check("good", good, "", ""))
    first, second = run_checks(checks, None)
    assert time.monotonic() - began < 20
    assert (first.ended, [each.level for each in first.findings]) == (False, ["ok", "problem"])
    assert first.findings[1].found == "it did not end within 0.2 s, and was left behind"
    assert "the moon" in str(first.findings[1].do)
    assert (second.ended, second.level) == (True, "ok")


def test_a_check_that_raises_keeps_what_it_found_and_the_next_is_run() -> None:
    first, second = run_checks((Check("raises", raises, "", ""), Check("good", good, "", "")), None)
    assert [each.level for each in first.findings] == ["warning", "problem"]
    assert first.findings[1].found == "the check itself failed: SystemExit: a library's own end"
    assert second.level == "ok"


def test_behind_a_decisive_problem_nothing_is_run() -> None:
    checks = (Check("bad", bad, "", "", decisive=True), Check("good", good, "", ""))
    assert [each.name for each in run_checks(checks, None)] == ["bad"]
    checks = (Check("bad", good, "", "", decisive=True), Check("good", good, "", ""))
    assert [each.name for each in run_checks(checks, None)] == ["bad", "good"]


_PROGRAM = """
import time
from concurrent.futures import ThreadPoolExecutor
from clipserve.__main__ import cli
from clipserve.commands.doctor import table
from clipserve.commands.doctor.checking import Check

def hangs(_):
    ThreadPoolExecutor(1).submit(time.sleep, 600).result()  # Python waits for it at its end
    yield

table.HERE = (Check("hangs", hangs, "", "", 0.2),)
cli(["doctor"])
"""


def test_a_check_that_hangs_does_not_keep_the_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "it did not end within 0.2 s" in ended.stdout
    assert ended.stdout.endswith("1 problem, no warnings\n")
