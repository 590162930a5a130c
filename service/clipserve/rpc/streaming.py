"""A call of many messages, each answered with one, in order, while they arrive.

A call has no deadline except its client's, and rows of other requests have priority. There are limits for what it
holds in memory (`clipserve.application.stream`), for its messages and their bytes, for the rates at which it sends
and takes answers (`clipserve.application.pace`), and for the number of such calls. If a client takes no answers,
reading stops, and after a timeout the call is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from grpc.aio import EOF

from clipserve.access.gate import Gate, when_there_is_room
from clipserve.application.body import Body
from clipserve.application.pace import StreamPace
from clipserve.application.stream import BulkPlaces, InFlightLimit, Total, in_order
from clipserve.quota import Lease
from clipserve.rpc.call import Call, Work
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.reading import to_its_end


class StreamCalls:
    """Answers calls of many messages; each call of this object answers one."""

    def __init__(self, gate: Gate, places: BulkPlaces, limits: RpcOptions) -> None:
        self._gate = gate
        self._places = places
        self._limits = limits

    async def __call__(self, work: Work, call: Call, lease: Lease) -> bytes:
        """Answer all messages by `work`, which returns the error of a message as its answer.

        Raises:
            Overloaded: too many such calls are running.
            TooMany, BodyTooLarge, BodyTooSlow: see `clipserve.errors`; after the answers to the messages before.
        """
        call.request.bulk = True
        pace = StreamPace(self._limits)

        async def answer(body: Body) -> bytes:
            size = len(body)
            with pace.at_work():
                answered = await work(body)
            lease.shrink(size)
            return answered

        messages = self._messages(call, lease, pace)
        with self._places.of_present(call.address):
            async with aclosing(in_order(messages, answer, InFlightLimit(), len)) as answers:
                async for answered in answers:
                    with pace.giving(len(answered)) as seconds:
                        await call.write(answered, seconds)
        return b""

    async def _messages(self, call: Call, lease: Lease, pace: StreamPace) -> AsyncGenerator[Body, None]:
        total, read = Total(self._limits), partial(to_its_end, call.context.read)
        while (message := await pace.receive(read)) is not EOF:
            body, size = Body(message), len(message)
            del message  # only `body` holds it
            pace.received(size)
            total.add(items=1, size=size)
            await lease.wait(size)
            await when_there_is_room(partial(self._gate.charge, size=size))
            yield body
