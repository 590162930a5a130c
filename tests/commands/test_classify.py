"""`clipserve classify` shows each result when it is there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.commands.hostile import CAT, GOOD, Parts, body, path_of, serving
from tests.support.process import ROOT

HELD_SECONDS = 50.0  # to notice that nothing comes; less than the client's timeout
SECOND = b"behind the second image"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_result_is_shown_while_the_next_image_is_on_its_way(terminal: bool, tmp_path: Path) -> None:
    for name, mark in (("1.jpg", b""), ("2.jpg", SECOND)):
        (tmp_path / name).write_bytes(CAT.read_bytes() + mark)
    seen_first = threading.Event()

    def answers(request: bytes) -> Parts:
        if SECOND in request:
            seen_first.wait(HELD_SECONDS)
        return body(GOOD[path_of(request)])

    with serving(answers) as (url, _):
        reading, writing = pty.openpty() if terminal else os.pipe()
        words = ["classify", str(tmp_path), "--labels", "a,b", "--url", url, "--in-flight", "2"]
        with subprocess.Popen(
            [sys.executable, "-m", "clipserve", *words], cwd=ROOT, stdout=writing
        ) as process:
            os.close(writing)
            seen, in_time = b"", False
            with suppress(OSError):  # Linux says so at the end of a terminal
                while part := os.read(reading, 65_536):
                    seen += part
                    if not in_time and b"1.jpg" in seen and b"0.9" in seen:
                        in_time = b"2.jpg" not in seen
                        seen_first.set()
        os.close(reading)
    assert process.returncode == 0
    assert in_time, seen
    assert b"2.jpg" in seen
