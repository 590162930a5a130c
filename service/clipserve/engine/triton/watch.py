"""Checks whether a Triton server serves an artifact, and how many rows a call may have.

The check runs a few times a second, so that readiness follows a change within a second. A server that says
no, or refuses the connection, is gone. A server that does not respond for a while is silent: it is not ready, but
may still get calls if no other server is. An answer to any call counts as a response: a busy server may answer the
check slowly.

A server is in use until a call fails there (`doubt`). Then the next check, made at once, is a trial: the models are
compared again, and the server computes the rows of `Canary`. If it fails, the server is sick and gets no calls. The
next trial follows after a second, each later one after twice the pause; or at once, if it was gone meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import grpc

from clipserve.engine.triton.canary import Canary, Sick
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import Tower
from clipserve.engine.triton.expected import Expected, Served
from clipserve.engine.triton.options import TritonOptions
from clipserve.errors import ClipError
from clipserve.telemetry.log import logger

_WATCH_SECONDS = 0.2  # with `silent_seconds` well under a second
_WAITS = 5  # for a sign of life: time in which this process stands still is one of them, however long
_STATISTICS_EVERY = 5  # looks
_LONGEST_PAUSE = 30.0  # seconds between two trials of a sick server
_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")

State = Literal["connecting", "ready", "silent", "gone", "mismatch", "sick"]


class TritonWatch:
    """Checks the two models of one artifact on one server.

    Attributes:
        served: encoder -> what its model takes; empty while the server is gone or sick.
        refused: why this server must not be used; None: it has the right artifact, or was not compared yet.
        phases: (Triton's model, phase of its work) -> seconds that the server has counted since it started.
    """

    def __init__(
        self, server: str, connection: Channel, expected: Expected, canary: Canary, options: TritonOptions
    ) -> None:
        self._server = server
        self._options = options
        self._connection = connection
        self._expected = expected
        self._canary = canary
        self.served: dict[Tower, Served] = {}
        self.refused: str | None = None
        self.phases: dict[tuple[str, str], float] = {}
        self._state: State = "connecting"
        self._question: asyncio.Task[tuple[State, str]] | None = None
        self._waits = 0  # without a sign of life, since the question was put
        self._alive_at = 0.0  # when it last answered a call, or was found not ready
        self._doubts = self._settled = 0  # failed calls; how many of them are older than the last good trial
        self._doubted, self._looked = asyncio.Event(), asyncio.Event()
        self._ailment = ""  # of a sick server
        self._pause = self._trial_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether the last check found both models ready, and no trial since has failed."""
        return self._state == "ready"

    @property
    def trusted(self) -> bool:
        """Whether it is ready, and no call has failed since its last trial began."""
        return self.ready and self._doubts == self._settled

    def max_rows(self, tower: Tower) -> int:
        """The most rows of a call; 0: the server gets none now."""
        return self.served[tower].rows if tower in self.served else 0

    def calls(self, tower: Tower) -> int:
        """Calls at a time that keep the server busy; 0: it gets none now."""
        return self.served[tower].calls if tower in self.served else 0

    def doubt(self) -> None:
        """A call failed: distrust the server until it passes a trial that begins after this."""
        self._doubts += 1
        self._doubted.set()

    async def passes(self) -> bool:
        """Wait for the trial of the present doubts; whether the server passes."""
        doubts = self._doubts
        while self.served and self._settled < doubts:
            await self._looked.wait()
        return self._settled >= doubts

    def heard(self) -> None:
        """The server answered a call."""
        self._alive_at, self._waits = time.monotonic(), 0

    def close(self) -> None:
        """End the waiting for a trial, which will not come."""
        self.served = {}
        self._looked.set()

    async def run(self, on_lost: Callable[[], None]) -> None:
        """Check until cancelled.

        `on_lost` is called after each check if the server is not ready and has answered no call for a while: it is
        silent, or is leaving and will not answer any more.
        """
        looks = 0
        try:
            while True:
                await self._look()
                if not self.ready and time.monotonic() - self._alive_at >= self._options.silent_seconds:
                    on_lost()
                elif self.ready and looks % _STATISTICS_EVERY == 0:
                    await self._read_statistics()
                looks += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WATCH_SECONDS):
                        await self._doubted.wait()
                self._doubted.clear()
        finally:
            if self._question is not None:
                self._question.cancel()
                self._question = None

    async def _look(self) -> None:
        """Ask whether both models are ready; learn their limits when they have just become so."""
        # One question at a time: a server that does not answer is not asked again, it only owes the answer.
        if self._question is None:
            self._question, self._waits = asyncio.create_task(self._ask()), 0
        seconds = self._options.silent_seconds
        while not self._question.done():
            if self._waits == _WAITS:
                self._enter("silent", f"no sign of life for {seconds} s")
                return
            self._waits += 1
            await asyncio.wait({self._question}, timeout=seconds / _WAITS)
        try:
            self._enter(*self._question.result())
        except grpc.aio.AioRpcError as error:
            self._enter("gone", str(error.details()))
        except Sick as error:
            self._pause = min(2 * self._pause or self._options.first_pause_seconds, _LONGEST_PAUSE)
            self._trial_at = time.monotonic() + self._pause
            self._ailment = str(error)
            self._enter("sick", self._ailment)
        except ClipError as error:
            self._enter("mismatch", error.detail)
        except Exception:  # an answer that is none: no common base
            logger.exception("triton_answer")
            self._enter("gone", "its answer cannot be read")
        finally:
            self._question = None

    async def _ask(self) -> tuple[State, str]:
        doubts = self._doubts
        if not await self._expected.ready(self._connection):
            return "gone", "it does not serve both models"
        if time.monotonic() < self._trial_at:
            return "sick", self._ailment
        if not self.served or doubts != self._settled:  # it may be another server than before
            served = await self._expected.served(self._connection)
            if doubts != self._settled and not await self._canary.check(self._connection):
                # Undecided: if it is in use, it stays so for want of others.
                return ("ready", "") if self.served else ("gone", "it does not answer calls")
            self.served = served
        self._settled = doubts
        return "ready", ""

    def _enter(self, state: State, reason: str) -> None:
        """Remember what the server is like; log it when it has changed."""
        if self.ready and state == "gone":
            self._alive_at = time.monotonic()  # what it has begun, it may still end
        self.refused = reason if state == "mismatch" else None
        if state in ("gone", "mismatch", "sick"):
            self.served = {}
        if state in ("ready", "gone"):
            self._pause = self._trial_at = 0.0
        if state != self._state:
            logger.warning(
                "triton", state=state, reason=reason, model=self._expected.name, endpoint=self._server
            )
        self._state = state
        self._looked.set()  # for those who wait now
        self._looked.clear()

    async def _read_statistics(self) -> None:
        for model in self._expected.models.values():
            try:
                answer = await self._connection.ask("ModelStatistics", model, self._options.silent_seconds)
            except grpc.aio.AioRpcError:
                return  # the next look tells what is wrong
            for each in answer.model_stats:
                for phase in _PHASES:
                    seconds = getattr(each.inference_stats, phase).ns / 1e9
                    self.phases[each.name, phase] = seconds
