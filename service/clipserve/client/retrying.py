"""When requests are retried. All requests to a server share the waiting time, so that they do not overload it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from clipserve.client.errors import DOUBTFUL, BadAddress, Refused, Unreachable
from clipserve.client.http import Answer

# Includes a proxy's answers for an absent server, and a missed deadline.
_LATER = frozenset({408, 425, 429, 502, 503, 504})
_FIRST_SECONDS = 2.0  # report an address without a server soon
# A shorter Retry-After says nothing: without a wait of its own the client would only repeat.
_LEAST_SECONDS = 0.1
_JITTER = 0.25  # of a wait, added at random, so that clients refused together do not retry together
_backoff = wait_exponential(multiplier=0.5, max=30)  # without a Retry-After


class Retrying:
    """Shared by all requests to one server: a `Retry-After` that one of them waits for delays all."""

    def __init__(self, seconds: float, in_flight: int) -> None:
        """`seconds`: how long to retry while no request gets an answer. No wait is longer."""
        self._seconds = seconds
        self._places = asyncio.Semaphore(in_flight)
        self._not_before = 0.0  # of time.monotonic(): a Retry-After that some request waits for
        self._answered = 0.0  # of time.monotonic(): the last answer

    async def __call__(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """A successful answer, after retries.

        Raises:
            Refused: the server refused the request, for good or until the time was over.
            Unreachable: the server did not answer until the time was over.
            OddAnswer: see `exchange`.
        """
        again = AsyncRetrying(
            retry=retry_if_exception(_may_pass),
            wait=self._wait,
            stop=self._is_over,
            before_sleep=self._delay_others,
            reraise=True,
        )
        answer: Answer = await again(self._once, ask)
        return answer

    async def _once(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self._places:
            patience = time.monotonic() + self._seconds
            while (now := time.monotonic()) < min(self._not_before, patience):
                await asyncio.sleep(min(_jittered(self._not_before - now), patience - now))
            answer = await ask()
        error = answer.refusal() if answer.status >= 300 else None
        if error is None or not _may_pass(error):
            self._answered = time.monotonic()
        if error is not None:
            raise error
        return answer

    def _wait(self, state: RetryCallState) -> float:
        asked = _asked(state)
        return _jittered(_backoff(state) if asked is None or asked < _LEAST_SECONDS else asked)

    def _delay_others(self, state: RetryCallState) -> None:
        if asked := _asked(state):
            self._not_before = max(self._not_before, time.monotonic() + asked)

    def _is_over(self, state: RetryCallState) -> bool:
        """Before the next wait: it would be over too late. A server that answers others is waited for."""
        known = self._answered > 0 or _asked(state) is not None
        limit = self._seconds if known else min(self._seconds, _FIRST_SECONDS)
        waited = time.monotonic() - max(state.start_time, self._answered)
        return waited + state.upcoming_sleep > limit


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, Refused):
        return error.status in _LATER and error.code not in DOUBTFUL
    return isinstance(error, Unreachable) and not isinstance(error, BadAddress)


def _asked(state: RetryCallState) -> float | None:
    error = state.outcome and state.outcome.exception()
    return error.retry_after if isinstance(error, Refused) else None


def _jittered(seconds: float) -> float:
    return seconds * (1 + _JITTER * random.random())  # noqa: S311 - no secret
