"""One Triton server: its state, and its calls.

Each second it is asked whether both models are ready (ModelReady). When they have just become so, their
configurations are compared with the artifact. A server that says no, or refuses the connection, is gone; one that
answers neither that question nor a call for a second is silent. Neither gets new calls.

A call that fails (`TryElsewhere`) sets the server aside, for a Triton whose GPU is lost says that it is ready, and
fails fastest. A probe ends that (`Expected.probe`). The first is made at once, so that a request that is at fault
sets nobody aside for long; if it fails the server is sick, and the next follows after 1 s, then after twice the
pause, up to 30 s, or at once if the server was gone meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Literal

import grpc
from opentelemetry.trace import SpanKind
from tritonclient.grpc import InferResult

from clipserve.concurrency import ended, kept_running
from clipserve.engine.triton.connection import Channel, TritonOptions
from clipserve.engine.triton.contract import Tower
from clipserve.engine.triton.expected import Expected, Served, Sick
from clipserve.engine.triton.failures import TryElsewhere, translated
from clipserve.engine.triton.message import TritonCall
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.tracing import headers, span
from clipserve.telemetry.triton_metrics import TritonMetrics

_LONGEST_PAUSE = 30.0  # seconds between two probes

State = Literal["connecting", "ready", "silent", "gone", "mismatch", "sick"]


class Server:
    """One server.

    Attributes:
        served: encoder -> what its model takes; empty while the server must get no calls.
        refused: why it must not be used; None: it has the right artifact, or was not compared yet.
        aside_since: of time.monotonic: when it was last set aside.
        rows: sent to the server and not yet answered.
        leaving: the look-up of its name no longer gives its address; it gets no new calls.
    """

    def __init__(
        self, url: str, channel: Channel, expected: Expected, options: TritonOptions, metrics: TritonMetrics
    ) -> None:
        self._url, self._channel, self._expected, self._options = url, channel, expected, options
        self._metrics = metrics
        self._counted = metrics.add(url, expected.name, lambda: self.ready)
        self.served: dict[Tower, Served] = {}
        self.refused: str | None = None
        self.aside_since, self.rows, self.leaving = 0.0, 0, False
        self._state: State = "connecting"
        self._heard_at = 0.0  # when it last answered a call
        self._failures = self._cleared = 0  # failed calls, and those older than the last good probe
        self._failed = asyncio.Event()
        self._pause, self._probe_at, self._sick = 0.0, 0.0, ""  # why the last probe failed
        self._watching: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether both models were ready when it was last asked, and the last probe has not failed."""
        return self._state == "ready"

    @property
    def in_use(self) -> bool:
        """Whether it is ready and not set aside."""
        return self.ready and self._failures == self._cleared

    def max_rows(self, tower: Tower) -> int:
        """The most rows of a call; 0: the server gets none now."""
        return self.served[tower].rows if self.served else 0

    def start(self) -> None:
        """Begin to ask."""
        self._watching = kept_running("triton_watch", self._watch)

    async def infer(self, call: TritonCall, seconds: float) -> InferResult:
        """The server's answer to a call. `seconds`: the timeout.

        Raises:
            TryElsewhere: the server is gone or leaving, or computes nothing.
            ClipError: see `failures`.
        """
        self._owe(call.rows)
        started = time.perf_counter()
        try:
            with span("triton", kind=SpanKind.CLIENT):
                answer = await self._channel.infer(call.message(seconds), seconds, headers())
        except grpc.aio.AioRpcError as error:
            raise self._noted(translated(error)) from None  # in no variable: its traceback holds this frame
        finally:
            self._owe(-call.rows)
        self._heard_at = time.monotonic()
        self._counted.seconds[call.tower].observe(time.perf_counter() - started)
        return answer

    def _noted(self, failure: Exception) -> Exception:
        """Set the server aside if the call should go elsewhere."""
        if isinstance(failure, TryElsewhere):
            self._set_aside()
            self._failures += 1
            self._failed.set()
        return failure

    async def aclose(self) -> None:
        """End the questions, and close the channel, which cancels the unanswered calls."""
        self._metrics.remove(self._url, self._expected.name)
        if self._watching is not None:
            await ended([self._watching])
        self._state = "gone"
        await self._channel.aclose()

    def _owe(self, rows: int) -> None:
        self.rows += rows
        self._counted.rows.inc(rows)

    def _set_aside(self) -> None:
        if self.in_use:
            self.aside_since = time.monotonic()

    async def _watch(self) -> None:
        while True:
            self._enter(*await self._look())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.ask_seconds):
                    await self._failed.wait()
            self._failed.clear()

    async def _look(self) -> tuple[State, str]:
        """Ask; compare and probe where it is due. The state, and why."""
        failures, expected = self._failures, self._expected
        try:
            if not await expected.ready(self._channel):
                return "gone", "it does not serve both models"
            served = self.served or await expected.served(self._channel)
            if failures != self._cleared and time.monotonic() >= self._probe_at:
                if await expected.probe(self._channel):
                    self._cleared, self._pause, self._sick = failures, 0.0, ""
                else:
                    self._back_off()
            self.served = served
        except Sick as error:
            self._sick = str(error)
            self._back_off()
        except BackendUnavailable as error:
            return "mismatch", error.detail
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                return "gone", str(error.details())
            if self.ready and time.monotonic() - self._heard_at < self._options.silent_seconds:
                return "ready", ""  # it is busy, and answers calls
            return "silent", f"no sign of life for {self._options.silent_seconds} s"
        return ("sick" if self._sick else "ready"), self._sick

    def _back_off(self) -> None:
        self._pause = min(2 * self._pause or self._options.first_pause_seconds, _LONGEST_PAUSE)
        self._probe_at = time.monotonic() + self._pause

    def _enter(self, state: State, reason: str) -> None:
        """Remember what the server is like; log it when it has changed."""
        if state != "ready":
            self._set_aside()
        self.refused = reason if state == "mismatch" else None
        if state in ("gone", "mismatch"):
            self.served = {}
            self._pause, self._probe_at, self._sick = 0.0, 0.0, ""
        if state != self._state:
            told = {"state": state, "reason": reason, "model": self._expected.name, "endpoint": self._url}
            logger.warning("triton", **told)
        self._state = state
