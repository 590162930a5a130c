"""The event loop runs before what computes."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from clipserve import thread_priority
from clipserve.thread_priority import come_first, yield_to_event_loop

T = TypeVar("T")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def turn() -> int:
    """The length of this thread's turns in nanoseconds; 0 where the kernel knows none."""
    attributes = thread_priority._Attributes()
    number = thread_priority._NUMBERS[os.uname().machine][1]
    assert ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), ctypes.sizeof(attributes), 0) == 0
    return int(attributes.runtime)


def in_a_thread(start: Callable[[], None], look: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1, initializer=start) as thread:
        return thread.submit(look).result()


def of_computing() -> tuple[int, int]:
    """The nice value and the turns of a thread that computes, and of one that it has started: they are the same."""

    def look() -> tuple[int, int]:
        own = nice(), turn()
        assert in_a_thread(lambda: None, lambda: (nice(), turn())) == own
        return own

    return in_a_thread(yield_to_event_loop, look)


def test_the_event_loop_has_shorter_turns_and_what_it_starts_to_compute_the_usual_ones() -> None:
    # Not this thread's: a service that a test before ran here may have asked for short ones.
    usual = in_a_thread(yield_to_event_loop, turn)
    if not usual:
        pytest.skip("this Linux knows no turns (6.12 and later do)")
    of_the_loop, computing = in_a_thread(come_first, lambda: (turn(), of_computing()))
    assert of_the_loop == 100_000 < usual
    assert computing == (nice(), usual), "it gives way to no other program"


def test_without_turns_what_computes_has_a_higher_nice_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_priority, "_NUMBERS", {})
    before = nice()
    with ThreadPoolExecutor(1, initializer=yield_to_event_loop) as computing:
        assert computing.submit(nice).result() == min(before + thread_priority._COMPUTING, 19)
    assert in_a_thread(come_first, nice) == before
