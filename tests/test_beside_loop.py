"""Beside the event loop callers take turns: one with many calls does not delay another's."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from clipserve.concurrency import SHORT, beside_loop
from clipserve.telemetry.request import RequestContext, enter


class Calls:
    """Calls that arrive while the thread is held, and the order in which they were made after `go`."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.go = threading.Event()
        self.tasks = [asyncio.create_task(beside_loop(self._held, SHORT + 1))]

    def _held(self) -> None:
        self.go.wait(60)

    async def add(self, caller: RequestContext, name: str) -> asyncio.Task[None]:
        async def called() -> None:
            enter(caller)
            await beside_loop(lambda: self.order.append(name), SHORT + 1)

        self.tasks.append(asyncio.create_task(called()))
        await asyncio.sleep(0)  # it has been put
        return self.tasks[-1]

    async def made(self) -> list[str]:
        self.go.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.order


async def test_a_call_waits_for_one_of_each_other_caller_however_many_they_have() -> None:
    many, one = RequestContext("many", address="proxy", digest="many"), RequestContext("one", address="proxy")
    calls = Calls()
    await asyncio.sleep(0)
    for caller, name in ((many, "many 0"), (many, "many 1"), (many, "many 2"), (one, "one")):
        await calls.add(caller, name)
    assert await calls.made() == ["many 0", "one", "many 1", "many 2"]


async def test_a_call_whose_request_has_ended_is_not_made_and_holds_up_nobody() -> None:
    one, calls = RequestContext("one", address="one"), Calls()
    await asyncio.sleep(0)
    gone = await calls.add(one, "gone")
    await calls.add(one, "present")
    gone.cancel()
    await asyncio.wait([gone])  # the thread may know it now
    assert await calls.made() == ["present"]


@pytest.mark.parametrize(("size", "beside"), [(SHORT, False), (SHORT + 1, True)])
async def test_what_is_short_is_computed_in_the_loop(size: int, beside: bool) -> None:
    assert (await beside_loop(threading.get_ident, size) != threading.get_ident()) == beside


async def test_an_error_is_the_caller_s() -> None:
    for size in (0, SHORT + 1):
        with pytest.raises(ZeroDivisionError):
            await beside_loop(lambda: 1 // 0, size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
async def test_a_fork_computes_in_a_thread_of_its_own() -> None:
    await beside_loop(lambda: None, SHORT + 1)
    child = os.fork()
    if not child:  # pragma: no cover
        try:
            os._exit(asyncio.run(asyncio.wait_for(beside_loop(lambda: 7, SHORT + 1), 60)))
        finally:
            os._exit(1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
