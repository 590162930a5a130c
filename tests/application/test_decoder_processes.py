"""Processes give the same pixels and errors as threads, and one that must be ended is replaced."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipserve.application import decoder_processes
from clipserve.application.decoder_processes import DecoderProcesses
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import (
    BackendUnavailable,
    ClipError,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedFormat,
)
from clipserve.telemetry.metrics import Metrics
from tests.clip.test_images import GOLDEN, SPECS, encoded, png_header
from tests.support import png

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
SPEC, LIMITS = ImageSpec(size=32), ImageLimits()
SMALL = png(1)


@functools.cache
def large() -> bytes:
    """390 MB, and some tenths of a second; with so many bytes behind its end that it might be a photo."""
    return encoded(Image.new("RGB", (5_000, 4_900)), "WEBP", lossless=True) + bytes(500_000)


class Group:
    """One process, and what the metrics say of it."""

    def __init__(self, memory_bytes: int = 10**9, seconds: float = 60) -> None:
        self.metrics = Metrics()
        self.processes = DecoderProcesses(1, memory_bytes, seconds, self.metrics)

    def decode(self, image: bytes = SMALL) -> None:
        pixels = self.processes.decode(image, SPEC, LIMITS)
        np.testing.assert_array_equal(pixels, decode_pixels(image, SPEC, LIMITS))

    @property
    def pid(self) -> int:
        (process,) = self.processes._all
        return process._popen.pid

    def replaced(self, reason: str) -> float:
        name = "clipserve_decoders_replaced_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason}) or 0


@pytest.fixture
def start() -> Iterator[Callable[..., Group]]:
    with contextlib.ExitStack() as stack:

        def start(**options: float) -> Group:
            group = Group(**options)  # type: ignore[arg-type]
            stack.callback(group.processes.close)
            return group

        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[Group]:
    group = Group()
    yield group
    group.processes.close()


def gone(pid: int) -> bool:
    """It has ended; a zombie has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)


@pytest.mark.parametrize("spec", SPECS)
def test_pixels_are_those_of_a_thread(shared: Group, spec: str) -> None:
    for path in GOLDEN.glob("*.*"):
        if path.suffix != ".json":
            data = path.read_bytes()
            pixels = shared.processes.decode(data, SPECS[spec], LIMITS)
            assert pixels.dtype == np.uint8
            np.testing.assert_array_equal(pixels, decode_pixels(data, SPECS[spec], LIMITS))
            header = read_header(data, SPECS[spec], LIMITS)
            assert shared.processes.read_header(data, SPECS[spec], LIMITS) == header
            assert np.array_equal(shared.processes.decode(data, SPECS[spec], LIMITS, header), pixels)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (SMALL[:30], UndecodableImage),
        (b"", UnsupportedFormat),
        (b"%PDF-1.7", UnsupportedFormat),
        (png_header(8_000, 8_000), ImageTooLarge),
    ],
)
def test_errors_are_those_of_a_thread(shared: Group, image: bytes, kind: type[ClipError]) -> None:
    with pytest.raises(kind) as expected:
        decode_pixels(image, SPEC, LIMITS)
    with pytest.raises(kind) as caught:
        shared.processes.decode(image, SPEC, LIMITS)
    assert vars(caught.value) == vars(expected.value)
    with pytest.raises(kind) as read:
        shared.processes.read_header(image, SPEC, LIMITS)
    assert vars(read.value) == vars(expected.value)
    shared.decode()
    assert (shared.replaced("died"), shared.replaced("late")) == (0, 0)


def test_an_image_that_is_larger_than_announced_is_not_decoded(shared: Group) -> None:
    header = read_header(SMALL, SPEC, LIMITS)
    for less in (
        header._replace(pixels=header.pixels - 1),
        header._replace(decode_bytes=header.decode_bytes - 1),
    ):
        with pytest.raises(UndecodableImage, match="begins as PNG but is broken"):
            shared.processes.decode(SMALL, SPEC, LIMITS, less)


def test_limits_and_choices_are_kept_there_too(shared: Group) -> None:
    with pytest.raises(ImageTooLarge, match="1,200 pixels; the limit is 1,199"):
        shared.processes.decode(SMALL, SPEC, ImageLimits(max_pixels=1_199))
    with pytest.raises(UnsupportedFormat, match="Send one of JPEG, WEBP"):
        shared.processes.decode(SMALL, SPEC, ImageLimits(image_formats=("JPEG", "WEBP")))


def test_an_image_that_takes_too_much_time_ends_its_process_and_the_next_is_served(
    start: Callable[..., Group],
) -> None:
    group = start(seconds=0.02)
    pid = group.pid
    with pytest.raises(ImageTooLarge, match=r"takes longer than the limit of 0\.02 s") as caught:
        group.processes.decode(large(), SPEC, LIMITS)
    assert caught.value.limit == 0.02
    assert gone(pid)
    assert (group.replaced("late"), group.replaced("died")) == (1, 0)
    group.decode()
    assert group.pid != pid


def test_a_process_that_sleeps_is_ended_by_the_clock(start: Callable[..., Group]) -> None:
    group = start(seconds=0.1)
    group.decode()
    os.kill(group.pid, signal.SIGSTOP)
    with pytest.raises(ImageTooLarge, match="takes longer"):
        group.decode()
    assert group.replaced("late") == 1


def test_an_image_that_takes_more_memory_than_one_may_is_refused_and_the_next_is_served(
    start: Callable[..., Group],
) -> None:
    group = start(memory_bytes=10_000_000)
    with pytest.raises((ImageTooLarge, UndecodableImage)):
        group.processes.decode(large(), SPEC, LIMITS)
    group.decode()


def test_a_process_that_died_while_idle_is_replaced_and_the_image_is_served(
    start: Callable[..., Group],
) -> None:
    group = start()
    group.decode()
    pid = group.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))
    group.decode()
    assert group.pid != pid
    assert group.replaced("died") == 1


def test_an_image_whose_process_dies_is_an_error_and_the_next_is_served(start: Callable[..., Group]) -> None:
    group = start()
    group.decode()
    os.kill(group.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(group.decode)
        until(lambda: not group.processes._idle)
        time.sleep(0.05)  # it waits for the answer; were it earlier, it would be replaced first
        os.kill(group.pid, signal.SIGKILL)
        with pytest.raises(UndecodableImage, match="the decoder ended at this image"):
            job.result(60)
    assert group.replaced("died") == 1
    group.decode()


def test_signals_of_the_terminal_and_of_a_supervisor_do_not_end_it(shared: Group) -> None:
    shared.decode()
    pid = shared.pid
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, signum)
    shared.decode()
    assert shared.pid == pid


def test_a_decoder_has_no_secret_in_its_environment_and_may_be_killed_first(
    start: Callable[..., Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIPSERVE_TRITON_TOKEN", "OTEL_EXPORTER_OTLP_HEADERS", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    group = start(memory_bytes=10**8)
    group.decode()
    proc = Path(f"/proc/{group.pid}")
    environment = (proc / "environ").read_bytes()
    assert b"secret" not in environment
    assert f"PYTHONPATH={ROOT}\0".encode() in environment
    assert (proc / "oom_score_adj").read_text() == "1000\n"
    limit = next(line for line in (proc / "limits").read_text().splitlines() if "address space" in line)
    assert 228_000_000 < int(limit.split()[3]) < 500_000_000


def test_several_are_used_at_the_same_time() -> None:
    processes = DecoderProcesses(2, 10**9, 60, Metrics())
    try:
        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(processes.decode, SMALL, SPEC, LIMITS) for _ in range(40)]
            expected = decode_pixels(SMALL, SPEC, LIMITS)
            assert all(np.array_equal(job.result(60), expected) for job in jobs)
    finally:
        processes.close()


def test_the_end_waits_for_none_of_them(start: Callable[..., Group]) -> None:
    group = start()
    group.decode()
    pid = group.pid
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(group.decode)
        until(lambda: not group.processes._idle)
        group.processes.close()
        assert gone(pid)
        with pytest.raises(ClipError):
            job.result(60)
    assert all(gone(each._popen.pid) for each in group.processes._all)


def test_decoders_end_with_the_service_even_if_that_is_killed() -> None:
    script = """
import os, signal
from clipserve.application.decoder_processes import DecoderProcesses
from clipserve.telemetry.metrics import Metrics
processes = DecoderProcesses(2, 10**9, 60, Metrics())
for process in processes._all:
    process.wait_ready()
    print(process._popen.pid)
os.sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert (len(pids), done.returncode) == (2, -signal.SIGKILL)
    for pid in pids:
        until(lambda pid=pid: gone(pid))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("pass", BackendUnavailable),
        ("answer(b'?')", BackendUnavailable),
        ("answer(b'!' + struct.pack('!BI', 0, 7) + bytes(7))", UndecodableImage),
        ("answer(b'!' + struct.pack('!BI', 7, 3072) + bytes(3072))", UndecodableImage),
        ("answer(b'!' + struct.pack('!BI', 1, 10**9))", UndecodableImage),
        ("answer(b'!' + struct.pack('!BIQQ', 2, 16, 9, 9))", UndecodableImage),
        ("answer(b'!' + struct.pack('!BI', 1, 2) + b'[]')", UndecodableImage),
        ("""answer(b'!' + struct.pack('!BI', 1, 16) + b'{"code": "evil"}')""", UndecodableImage),
    ],
)
def test_what_a_process_that_was_taken_over_may_answer_is_an_error_of_its_image(
    monkeypatch: pytest.MonkeyPatch, program: str, error: type[ClipError]
) -> None:
    script = f"""
import socket, struct
def answer(data):
    with socket.socket(fileno=0) as connection:
        connection.sendall(data)
        while connection.recv(65536): pass
{program}
"""
    monkeypatch.setattr(decoder_processes, "_COMMAND", (sys.executable, "-c", script))
    group = Group(seconds=60)
    try:
        with pytest.raises(error):
            group.decode()
        assert group.replaced("died") >= 1
    finally:
        group.processes.close()
