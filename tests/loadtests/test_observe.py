"""What is read of a server: its memory, its CPU time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from loadtests.observe import Memory, Observation, Observer, Others, cpu_seconds, cpu_seconds_of_all, memory
from loadtests.process import Server


def test_a_process_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.observe._PERIOD", 0.02)
    samples = 0

    def counted(pid: int) -> dict[str, int]:
        """Once a sample."""
        nonlocal samples
        samples += 1
        return memory(pid)

    monkeypatch.setattr("loadtests.observe.memory", counted)

    def waited_for(count: int) -> None:
        while samples < count:
            time.sleep(0.01)

    with Observer(Server("http://nowhere", pid=os.getpid())) as observer:
        waited_for(1)
        until = time.process_time() + 0.15
        while time.process_time() < until:
            pass
        waited_for(samples + 2)  # the second has begun since
    seen = observer.observation
    assert seen.cpu_seconds is not None
    assert seen.cpu_seconds > 0.02
    assert seen.rss is not None
    assert seen.peak is not None
    assert seen.peak >= seen.rss > 1_000_000
    assert len(seen.memory) >= 2


def test_a_server_of_which_only_the_address_is_known_is_measured_too() -> None:
    with Observer(Server("http://nowhere")) as observer:
        pass
    assert observer.observation.cpu_seconds is None
    assert observer.observation.rss is None


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


def test_the_slope_of_memory_is_that_of_the_second_half() -> None:
    warming = [Memory(second, second * 1_000_000) for second in range(60)]
    level = [Memory(60 + second, 60_000_000 + second * 1024) for second in range(60)]
    assert Observation(memory=warming + level).growth == pytest.approx(60), "1 KiB a second"
    assert Observation().growth == 0
