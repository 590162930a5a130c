"""A process lets go of children that are not its own, and of no others."""

from __future__ import annotations

import subprocess
import sys

from tests.process import ROOT

# A process of its own: this one has children that others wait for.
TRIED = """
import os, subprocess
from clipserve.processes.orphans import reap_orphans
own, stranger = (subprocess.Popen(["true"]) for _ in range(2))
for child in (stranger, own):
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
reap_orphans({own.pid, stranger.pid})
assert stranger.wait() == 0, "it was one of its own"
stranger = subprocess.Popen(["true"])
assert own.wait() == 0
os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
reap_orphans({own.pid})
try:
    os.waitpid(stranger.pid, 0)
except ChildProcessError:
    print("gone")
reap_orphans(set())
"""


def test_what_somebody_waits_for_is_left_to_him_and_all_others_are_let_go() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "gone\n"), done.stderr
