"""SIGTERM in the middle of an attack: the process ends by itself, in time and in order."""

from __future__ import annotations

import signal
import time

import pytest

from tests.abuse.attacks.table import BY_ID, FEW
from tests.abuse.scenario import hostile_client
from tests.process import Process

pytestmark = [pytest.mark.abuse, pytest.mark.attacks]


@pytest.mark.parametrize("name", FEW)
def test_sigterm_during_an_attack_ends_the_process_in_order(name: str) -> None:
    process = Process(backend="onnx")
    process.wait_ready()
    with hostile_client(process, BY_ID[name]):
        time.sleep(1)
        started = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        status, log = process.ended(60)
    assert status == 0
    assert time.monotonic() - started < 30
    assert "Traceback" not in log
