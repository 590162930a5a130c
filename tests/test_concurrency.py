"""Waiting for several coroutines; errors come out bare."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError
from pathlib import Path
from types import FrameType

import pytest

from clipserve.concurrency import DaemonExecutor, both, together


async def test_the_first_error_ends_the_others_and_comes_out_bare() -> None:
    cancelled = asyncio.Event()

    async def hanging() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    async def failing() -> str:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([hanging(), failing()])
    assert cancelled.is_set()


async def test_both_keep_their_places() -> None:
    async def later() -> int:
        await asyncio.sleep(0.01)
        return 1

    async def sooner() -> str:
        return "two"

    assert await both(later(), sooner()) == (1, "two")


async def test_a_caller_who_leaves_while_the_others_are_ended_leaves_no_cycle() -> None:
    ending, let_go = asyncio.Event(), asyncio.Event()
    ended = False

    async def failing() -> str:
        raise ValueError("no")

    async def slow_to_end() -> str:
        nonlocal ended
        try:
            await asyncio.sleep(3600)
        finally:
            ending.set()
            await let_go.wait()
            ended = True
        return ""

    async def ask() -> None:
        await together([slow_to_end(), failing()])

    gc.disable()
    gc.collect()
    try:
        asking = asyncio.create_task(ask())
        await ending.wait()
        asking.cancel()
        await asyncio.wait({asking})
        let_go.set()
        del asking
        await asyncio.sleep(0.01)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each.f_code.co_qualname for each in gc.garbage if isinstance(each, FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert "together" not in left
    assert ended, "it is not cancelled again"


def one_thread() -> DaemonExecutor:
    return DaemonExecutor(1, "test")


def test_an_error_is_the_job_s_and_the_thread_goes_on() -> None:
    with one_thread() as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(60) == "test_0"
        with pytest.raises(ValueError, match="invalid literal"):
            executor.submit(int, "x").result(60)
        assert executor.submit(int, "7").result(60) == 7


def test_an_idle_thread_keeps_nothing_of_its_last_job() -> None:
    class Body:
        pass

    with one_thread() as executor:
        body = Body()
        gone = threading.Event()
        weakref.finalize(body, gone.set)
        executor.submit(id, body).result(60)
        del body
        assert gone.wait(60)


def test_an_error_keeps_nothing_of_the_work_that_raised_it() -> None:
    class Body:
        pass

    gone = threading.Event()

    def parse() -> None:
        body = Body()
        weakref.finalize(body, gone.set)
        raise ValueError("no")

    with one_thread() as executor:
        failed = executor.submit(parse)
        with pytest.raises(ValueError, match="no"):
            failed.result(60)
        assert gone.is_set()
        assert failed.exception()  # which is still here


def test_the_end_waits_for_nothing_and_cancels_what_has_not_begun() -> None:
    began, end = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return end.wait(60)

    with one_thread() as executor:
        running = executor.submit(work)
        assert began.wait(60)
        waiting = executor.submit(int)
    with pytest.raises(CancelledError):
        waiting.result(60)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(int)
    end.set()
    assert running.result(60) is True


def test_a_process_ends_while_a_thread_is_at_work() -> None:
    script = """
import threading, time
from clipserve.concurrency import DaemonExecutor
began = threading.Event()
with DaemonExecutor(1, "test") as executor:
    executor.submit(lambda: began.set() or time.sleep(3600))
    began.wait()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], timeout=300)
    assert done.returncode == 0
