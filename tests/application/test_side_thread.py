"""In the side thread callers take turns: one with many calls does not delay another's."""

from __future__ import annotations

import asyncio
import threading

from clipserve.application.taking_turns import TurnQueue
from clipserve.concurrency import DaemonExecutor, SideThread
from clipserve.telemetry.request import RequestContext, enter


class Side:
    """A side thread that is held until `go`, and the order in which it made its calls."""

    def __init__(self, executor: DaemonExecutor) -> None:
        self.side = SideThread(executor)
        self.order: list[str] = []
        self.go = threading.Event()

    def call(self, caller: RequestContext, name: str) -> asyncio.Task[None]:
        async def called() -> None:
            enter(caller)
            await self.side.call(self.order.append, name, short=False)

        return asyncio.create_task(called())


async def order_of(calls: list[tuple[RequestContext, str]]) -> list[str]:
    """The order of these calls, which arrive while the thread is busy."""
    with DaemonExecutor(1, "side", jobs=TurnQueue()) as executor:
        side = Side(executor)
        busy = executor.submit(side.go.wait)
        tasks = []
        for caller, name in calls:
            tasks.append(side.call(caller, name))
            await asyncio.sleep(0)  # it has been put
        side.go.set()
        await asyncio.gather(*tasks)
        busy.result()
        return side.order


async def test_a_call_waits_for_one_of_each_other_address_however_many_they_have() -> None:
    many, one, other = (RequestContext(name, address=name) for name in ("many", "one", "other"))
    calls = [(many, f"many {n}") for n in range(4)] + [(one, "one"), (other, "other 0"), (other, "other 1")]
    assert await order_of(calls) == ["many 0", "one", "other 0", "many 1", "other 1", "many 2", "many 3"]


async def test_keys_take_turns_also_where_they_have_one_address() -> None:
    first, second = (RequestContext(key, address="proxy", digest=key) for key in ("first", "second"))
    calls = [(first, "first 0"), (first, "first 1"), (second, "second")]
    assert await order_of(calls) == ["first 0", "second", "first 1"]


async def test_requests_of_one_caller_are_served_in_the_order_in_which_they_came() -> None:
    calls = [(RequestContext(f"{n}", address="one"), f"{n}") for n in range(5)]
    assert await order_of(calls) == ["0", "1", "2", "3", "4"]


async def test_a_call_whose_request_has_ended_is_not_made_and_holds_up_nobody() -> None:
    one = RequestContext("one", address="one")
    with DaemonExecutor(1, "side", jobs=TurnQueue()) as executor:
        side = Side(executor)
        executor.submit(side.go.wait)
        gone, present = side.call(one, "gone"), side.call(one, "present")
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])  # the thread may know it now
        side.go.set()
        await present
        assert side.order == ["present"]
