"""What is read of a server: its memory, its CPU time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from loadtests.observe import Others, cpu_seconds, cpu_seconds_of_all, observed
from loadtests.process import Server


def test_a_process_is_observed() -> None:
    end = observed(Server("http://nowhere", pid=os.getpid()))
    until = time.process_time() + 0.15
    while time.process_time() < until:
        pass
    seen = end()
    assert seen.cpu_seconds is not None
    assert seen.cpu_seconds > 0.02
    assert seen.rss is not None
    assert seen.peak is not None
    assert seen.peak >= seen.rss > 1_000_000


def test_the_seconds_of_processes_below_are_counted_whichever_thread_has_started_them() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", busy]
    started: list[subprocess.Popen[str]] = []

    def start() -> None:
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        ended.wait()

    ended = threading.Event()
    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not started:
            time.sleep(0.01)
        with started[0] as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert cpu_seconds(os.getpid()) + 0.25 <= cpu_seconds_of_all(os.getpid())
            child.communicate("\n")
        assert cpu_seconds(os.getpid()) + 0.25 <= cpu_seconds_of_all(os.getpid()), "it has ended"
    finally:
        ended.set()
        thread.join()


def test_a_program_that_takes_the_cores_is_told() -> None:
    others = Others()
    # Its parent ends at once, so that it is nobody's child here.
    busy = f"{sys.executable} -c 'import time\nwhile time.process_time() < 20: pass' & echo $!"
    with subprocess.Popen(["sh", "-c", busy], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
    try:
        deadline = time.monotonic() + 60
        while not (warning := others.warning()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "of the cores: measure again" in warning
    finally:
        os.kill(pid, signal.SIGKILL)
