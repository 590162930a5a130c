"""One Triton server: its channel, its watch, and its unanswered rows.

The pixels of a call go into shared memory where the server reads them there, else over gRPC (`shared_memory`).

If a server does not respond, or leaves without answering, its calls are cancelled here and retried on another
server. Each call waits inside an `asyncio.timeout` without a time, which costs no task; to move a call, that
timeout is set to expire.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import grpc
from opentelemetry.trace import SpanKind
from tritonclient.grpc import InferResult

from clipserve.concurrency import clears_frame, kept_running
from clipserve.engine.triton.canary import Canary
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import CALL_ROWS
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.failures import TryElsewhere, translated
from clipserve.engine.triton.message import TritonCall
from clipserve.engine.triton.options import TritonOptions
from clipserve.engine.triton.shared_memory import SharedMemory
from clipserve.engine.triton.watch import TritonWatch
from clipserve.telemetry.tracing import headers, span
from clipserve.telemetry.triton_metrics import ServerState, TritonMetrics


class Endpoint:
    """One server.

    Attributes:
        rows: sent to the server and not yet answered.
        turn: the number of the last choice that took this server.
        leaving: the look-up of its name no longer gives its address; it gets no new calls.
    """

    def __init__(
        self,
        server: str,
        connection: Channel,
        expected: Expected,
        canary: Canary,
        options: TritonOptions,
        metrics: TritonMetrics,
    ) -> None:
        self._server, self._model = server, expected.name
        self.watch = TritonWatch(server, connection, expected, canary, options)
        self.rows = 0
        self._connection = connection
        self._shared = SharedMemory(server, connection, seconds=options.share_seconds)
        self._metrics = metrics
        self._seconds = metrics.add(server, expected.name, self._state)
        self.turn = 0
        self.leaving = False
        self._waiting: dict[asyncio.Timeout, bool] = {}  # each call that it owes -> whether it may be moved
        self._watching: asyncio.Task[None] | None = None

    def start(self, on_lost: Callable[[], None]) -> None:
        """Begin to watch the server. `on_lost` is called repeatedly while its calls cannot be expected to end."""
        self._watching = kept_running("triton_watch", partial(self.watch.run, on_lost))

    @clears_frame
    async def infer(self, call: TritonCall, seconds: float, *, movable: bool) -> InferResult:
        """The server's answer to a call. `seconds`: the timeout. `movable`: `move_calls` may cancel it.

        Raises:
            TryElsewhere: the server is gone or leaving, does not respond, or computes nothing.
            ClipError: see `failures`.
        """
        self.rows += call.rows
        waiting = asyncio.timeout(None)
        started = time.perf_counter()
        try:
            async with waiting:
                self._waiting[waiting] = movable
                answer = await self._answer(call, seconds)
        except TimeoutError as error:
            raise TryElsewhere("silent") if waiting.expired() else error from None
        except grpc.aio.AioRpcError as error:
            failure = translated(error)
            if isinstance(failure, TryElsewhere):
                self.watch.doubt()
            raise failure from None
        finally:
            self.rows -= call.rows
            self._waiting.pop(waiting, None)
        self.watch.heard()
        self._seconds[call.tower].observe(time.perf_counter() - started)
        return answer

    async def _answer(self, call: TritonCall, seconds: float) -> InferResult:
        """Send the call, with its pixels in shared memory where the server reads them there."""
        region = None
        if call.tower == "image":
            most = min(CALL_ROWS["image"], self.watch.max_rows("image"))
            calls = self.watch.calls("image")
            region = await self._shared.lend(call.arrays[0], max(most, call.rows), calls)
        if region is not None:
            try:
                return await self._send(call.message(seconds, region.name), seconds)
            except grpc.aio.AioRpcError as error:
                reason = str(error.details())
                # NOT_FOUND that does not name the region is of the model.
                if error.code() is not grpc.StatusCode.NOT_FOUND or region.name not in reason:
                    raise
                self._shared.forget(region, reason)
            finally:
                self._shared.give_back(region)
        return await self._send(call.message(seconds), seconds)

    async def _send(self, message: bytes, seconds: float) -> InferResult:
        with span("triton", kind=SpanKind.CLIENT):
            return await self._connection.infer(message, seconds, headers=headers())

    def move_calls(self) -> None:
        """Cancel every unanswered call that is `movable`: each raises TryElsewhere."""
        self._end([waiting for waiting, movable in self._waiting.items() if movable])

    async def aclose(self) -> None:
        """End the watch, cancel the unanswered calls, and close the channel."""
        self._metrics.remove(self._server, self._model)
        self._end([*self._waiting])  # or gRPC would end them, as if their callers had left
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self.watch.close()
        await self._shared.aclose()
        await self._connection.aclose()

    def _state(self) -> ServerState:
        return ServerState(self.watch.ready, self.rows, self._shared.size, self.watch.phases)

    def _end(self, calls: list[asyncio.Timeout]) -> None:
        for waiting in calls:
            del self._waiting[waiting]
            waiting.reschedule(0)
