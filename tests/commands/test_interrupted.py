"""Commands that are interrupted while they embed."""

from __future__ import annotations

import base64
import re
import signal
import threading
import time
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipserve.client.index import Index
from tests.commands.files import photos, run_here, start
from tests.commands.hostile import GOOD, Parts, body, path_of, serving
from tests.support.process import ROOT, waited_until

HANGS_SECONDS = 300


class Held:
    """Answers of a service that embeds as many images as it is told to; a vector follows from its image."""

    def __init__(self) -> None:
        self._asked, self._allowed, self._answered = (threading.Semaphore(0) for _ in range(3))

    def __call__(self, request: bytes) -> Parts:
        if path_of(request) != "/embed":
            return body(GOOD[path_of(request)])
        self._asked.release()
        self._allowed.acquire()
        self._answered.release()
        angle = zlib.crc32(request.partition(b"\r\n\r\n")[2])
        vector = np.array([np.cos(angle), np.sin(angle)], "<f4").tobytes()
        return body(
            {
                "model": "toy",
                "fingerprint": "toy@1",
                "results": [{"embedding": base64.b64encode(vector).decode()}],
            }
        )

    def is_asked(self) -> None:
        """Wait until it is."""
        assert self._asked.acquire(timeout=HANGS_SECONDS)

    def answer(self, count: int) -> None:
        self.allow(count)
        assert all(self._answered.acquire(timeout=HANGS_SECONDS) for _ in range(count))

    def allow(self, count: int) -> None:
        self._allowed.release(count)


def interrupted(index: Path, signum: signal.Signals, folder: Path) -> tuple[int, str]:
    """`embed` after a signal that comes when its index has answers, and others are waited for.

    Returns its exit status and what it wrote on standard error.
    """
    held = Held()
    with serving(held) as (url, _):
        process = start("embed", folder, "--index", index, "--url", url, "--in-flight", "4")
        try:
            held.is_asked()
            before = rows(index)
            time.sleep(2)  # it stores what it has once a second, when it has the vector of the next image
            held.answer(16)  # as many as are under way: the next image is among them
            waited_until(lambda: rows(index) > before)
            process.send_signal(signum)
            _, errors = process.communicate(timeout=HANGS_SECONDS)
        finally:
            process.kill()
            held.allow(1_000)
    return process.returncode, errors


def rows(path: Path) -> int:
    with closing(Index(path)) as index:
        return index.count()


def test_a_run_that_was_interrupted_and_killed_makes_the_file_of_one_in_one_go(tmp_path: Path) -> None:
    folder, parts = photos(tmp_path / "photos", 40, bad=30), tmp_path / "parts.sqlite"
    held = Held()
    held.allow(1_000)

    def npz(name: str) -> list[str | Path]:
        return ["--npz", tmp_path / f"{name}.npz"]

    with serving(held) as (url, _):
        assert (
            run_here("embed", folder, "--index", tmp_path / "a.sqlite", *npz("whole"), "--url", url)[0] == 1
        )
        status, errors = interrupted(parts, signal.SIGINT, folder)
        assert (status, "the same command goes on" in errors) == (130, True), errors
        assert interrupted(parts, signal.SIGKILL, folder)[0] == -signal.SIGKILL
        assert interrupted(parts, signal.SIGTERM, folder)[0] == 143
        status, _, errors = run_here("embed", folder, "--index", parts, *npz("parts"), "--url", url)
    assert status == 1
    (made,) = re.findall(r"70 rows; embedded now: (\d+)\.", errors)
    assert int(made) <= 70 - 3, "what was stored before is kept"
    assert "failed: 30" in errors
    assert "and 10 more" in errors
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not [*tmp_path.glob("*-journal"), *tmp_path.glob("*.part")]


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_in_this_process_is_interrupted_too(tmp_path: Path, signum: int, status: int) -> None:
    process = start("embed", "-", "--index", tmp_path / "a.sqlite")
    try:
        assert process.stdin is not None
        process.stdin.write(
            f"{ROOT / 'docs/cat.jpg'}\n" * 256
        )  # as many as are listed at a time; then it waits
        process.stdin.flush()
        waited_until((tmp_path / "a.sqlite").exists)
        process.send_signal(signum)
        assert process.wait(HANGS_SECONDS) == status
        assert process.stderr is not None
        assert "the same command goes on" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
