"""The processes that decode, beside a service that is a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.abuse.measure import family
from tests.support.process import PATIENT, Process, waited_until
from tests.support.service import form, png

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def decoders_of(process: Process) -> list[int]:
    """Process ids."""
    found = []
    for pid in family(process.popen.pid)[1:]:
        with suppress(OSError):  # it has ended
            if b"clipserve.clip.decoder" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def embed(process: Process, seconds: float = 60) -> httpx.Response:
    return httpx.post(process.url + "/embed", files=form([png()], {}), timeout=seconds)


def test_sigterm_waits_for_no_decoder_and_leaves_none_behind() -> None:
    process = Process(decode_threads=2, backend="onnx", **PATIENT)
    process.wait_ready()
    assert embed(process).status_code == 200
    decoders = decoders_of(process)
    assert len(decoders) == 2
    for pid in decoders:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(httpx.TimeoutException):
        embed(process, seconds=0.5)
    status, log = process.stop()
    assert status == 0
    assert "Traceback" not in log
    waited_until(lambda: not any(map(alive, decoders)))


def test_a_killed_decoder_is_replaced_and_a_killed_service_leaves_none_behind() -> None:
    process = Process(decode_threads=1, backend="onnx", **PATIENT)
    process.wait_ready()
    (first,) = decoders_of(process)
    os.kill(first, signal.SIGKILL)
    waited_until(lambda: not alive(first))
    assert embed(process).status_code == 200
    (second,) = decoders_of(process)
    assert second != first
    process.popen.kill()
    _, log = process.ended()
    assert '"reason": "died"' in log
    waited_until(lambda: not alive(second))


def test_without_processes_it_decodes_in_threads() -> None:
    process = Process(decode_processes="false", backend="onnx", **PATIENT)
    process.wait_ready()
    assert embed(process).status_code == 200
    assert decoders_of(process) == []
    assert process.stop()[0] == 0
