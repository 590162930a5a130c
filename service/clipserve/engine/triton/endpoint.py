"""One Triton server: its channel, its watch, and the rows that it owes.

Calls that a server owes when it falls silent, or leaves without answering them, are ended here and made again
elsewhere. Each call waits inside an
`asyncio.timeout` without a time, which costs no task; to move the call is to let that run out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import grpc
from tritonclient.grpc import InferResult

from clipserve.concurrency import clears_frame, kept_running
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.failures import TryElsewhere, translated
from clipserve.engine.triton.message import TritonCall
from clipserve.engine.triton.watch import TritonWatch
from clipserve.telemetry.tracing import called
from clipserve.telemetry.triton_metrics import TritonMetrics


class Endpoint:
    """A server.

    Attributes:
        rows: sent to it and not yet answered.
        turn: grows each time that it is chosen.
        leaving: its name does not stand for it any more; it gets no new calls.
    """

    def __init__(self, server: str, connection: Channel, expected: Expected, metrics: TritonMetrics) -> None:
        self._connection = connection
        self._metrics = metrics.add(
            server, expected.name, up=lambda: self.watch.ready, rows=lambda: self.rows
        )
        self.watch = TritonWatch(server, connection, expected, self._metrics)
        self.rows = 0
        self.turn = 0
        self.leaving = False
        self._waiting: dict[asyncio.Timeout, bool] = {}  # each call that it owes -> whether it may be moved
        self._watching: asyncio.Task[None] | None = None

    def start(self, on_lost: Callable[[], None]) -> None:
        """Begin to look at it; `on_lost` is called again and again while what it owes will not come."""
        self._watching = kept_running("triton_watch", partial(self.watch.run, on_lost))

    @clears_frame
    async def infer(self, call: TritonCall, seconds: float, *, movable: bool) -> InferResult:
        """Its answer, in at most so many seconds. `movable`: `move_calls` may end it.

        Raises:
            TryElsewhere: the server is gone or leaving, or has fallen silent; it is set aside.
            ClipError: see `failures`.
        """
        self.rows += call.rows
        waiting = asyncio.timeout(None)
        started = time.perf_counter()
        try:
            async with waiting:
                self._waiting[waiting] = movable
                answer = await called(
                    "triton", self._connection.infer, call.message(seconds), seconds, headers={}
                )
        except TimeoutError:
            if not waiting.expired():
                raise
            raise TryElsewhere("silent") from None
        except grpc.aio.AioRpcError as error:
            failure = translated(error)
            if isinstance(failure, TryElsewhere):
                self.watch.doubt()
            raise failure from None
        finally:
            self.rows -= call.rows
            self._waiting.pop(waiting, None)
        self.watch.heard()
        self._metrics.answered(call.tower, time.perf_counter() - started)
        return answer

    def move_calls(self) -> None:
        """End every call that it owes and that has not been moved yet: each raises TryElsewhere."""
        self._end([waiting for waiting, movable in self._waiting.items() if movable])

    async def aclose(self) -> None:
        """End its watch, the calls that it still owes, and its channel."""
        self._metrics.close()
        self._end([*self._waiting])  # or gRPC would end them, as if their callers had left
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._connection.aclose()

    def _end(self, calls: list[asyncio.Timeout]) -> None:
        for waiting in calls:
            del self._waiting[waiting]
            waiting.reschedule(0)
