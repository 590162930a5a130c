"""SIGTERM in the middle of an attack: the process ends by itself, in time and in order."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import pytest

from tests.abuse.attacks.table import BY_ID, FEW
from tests.abuse.scenario import hostile_client
from tests.process import Process

# By up to four clients at once, or by one alone.
GROUPS = -(-len(FEW) // 4)
TOGETHER = [FEW[first::GROUPS] for first in range(GROUPS)]
ALONE = [pytest.param((name,), marks=pytest.mark.nightly) for name in FEW]


@pytest.mark.parametrize("names", [*TOGETHER, *ALONE], ids="; ".join)
def test_sigterm_during_an_attack_ends_the_process_in_order(names: tuple[str, ...]) -> None:
    process = Process(backend="onnx", drain_seconds=5)
    process.wait_ready()
    with ExitStack() as hostile:
        for name in names:
            hostile.enter_context(hostile_client(process, BY_ID[name]))
        time.sleep(1)
        started = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        status, log = process.ended()
        seconds = time.monotonic() - started
    assert status == 0
    assert seconds < 100, "it has five"
    assert "Traceback" not in log
