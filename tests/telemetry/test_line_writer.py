"""Log lines are written as long as somebody takes them; who logs never waits."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from clipserve.telemetry.line_writer import LineWriter

LINE = "x" * 99 + "\n"


def started(descriptor: int, told: list[int] | None = None, **options: int) -> LineWriter:
    writer = LineWriter((told if told is not None else list[int]()).append, **options)
    writer.start(descriptor)
    return writer


@pytest.fixture
def pipe() -> tuple[int, int]:
    """(to read from, to write to); both stay open, because threads may write until the end of the process."""
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    return ends


def read(descriptor: int, count: int) -> str:
    """So many characters out of a pipe."""
    text = ""
    end = time.monotonic() + 20
    while len(text) < count and time.monotonic() < end:
        try:
            text += os.read(descriptor, count - len(text)).decode()
        except BlockingIOError:
            time.sleep(0.01)
    return text


def test_lines_are_written_in_their_order_also_those_from_before_the_start(pipe: tuple[int, int]) -> None:
    writer = LineWriter(list[int]().append)
    writer.write("0\n")
    writer.start(pipe[1])
    for i in range(1, 1000):
        writer.write(f"{i}\n")
    assert writer.flush(20)
    expected = "".join(f"{i}\n" for i in range(1000))
    assert read(pipe[0], len(expected)) == expected
    assert writer.dropped == 0


def test_while_nobody_reads_lines_are_dropped_and_afterwards_that_is_told(pipe: tuple[int, int]) -> None:
    told: list[int] = []
    writer = started(pipe[1], told, max_waiting=100_000)
    began = time.monotonic()
    for _ in range(20_000):
        writer.write(LINE)
    assert time.monotonic() - began < 10  # a tenth of a second on an idle machine; to wait would be for ever
    assert 17_000 < writer.dropped < 19_500, "as many wait as may, and as many more are in the pipe"
    assert not told
    taken = 20_000 - writer.dropped
    assert read(pipe[0], taken * len(LINE)) == taken * LINE
    assert writer.flush(20)
    assert told == [writer.dropped]
    writer.write("again\n")
    assert read(pipe[0], 6) == "again\n"


def test_to_flush_ends_in_time_also_where_nobody_reads(pipe: tuple[int, int]) -> None:
    writer = started(pipe[1])
    for _ in range(1_000):
        writer.write(LINE)
    began = time.monotonic()
    assert not writer.flush(0.1)
    assert time.monotonic() - began < 20


def test_what_a_full_device_does_not_take_is_counted() -> None:
    told: list[int] = []
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = started(descriptor, told)
    for _ in range(100):
        writer.write(LINE)
    assert writer.flush(20)
    assert writer.dropped == 100
    assert not told, "there is nobody to tell"
    os.close(descriptor)


def test_a_reader_who_has_left_is_survived(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = started(pipe[1])
    for _ in range(3):
        writer.write(LINE)
        assert writer.flush(20)
    assert writer.dropped == 3


def test_after_a_line_that_was_cut_the_next_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        told: list[int] = []
        writer = started(file.fileno(), told)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))  # bytes of a file: a disk that is full
        try:
            writer.write(LINE)
            assert writer.flush(20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.write("whole\n")
        assert writer.flush(20)
    assert (tmp_path / "log").read_text() == "x" * 40 + "\nwhole\n"
    assert told == [writer.dropped] == [1]


def test_a_pipe_that_does_not_block_gets_every_line_whole(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = started(pipe[1])
    for i in range(5_000):
        writer.write(f"{i} {LINE}")
    expected = "".join(f"{i} {LINE}" for i in range(5_000))
    assert read(pipe[0], len(expected)) == expected
    assert writer.dropped == 0
