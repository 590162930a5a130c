"""When to ask a service again that could not answer: for all requests together, so that they do not press on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_SECONDS, _MOST_SECONDS = 0.5, 30.0  # without a word of the service: doubled each time
_MOST_ASKED_SECONDS = 600.0  # of what a service asks for
_JITTER = 0.25  # of a wait, added to it: those that were refused together do not come back together


class Waiting:
    """Shared by all requests to one service."""

    def __init__(self) -> None:
        self._not_before = 0.0  # of time.monotonic(): what the service has asked of everybody

    async def for_turn(self) -> None:
        """Until the service may be asked."""
        while (seconds := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(_jittered(seconds))

    async def after(self, failures: int, retry_after: float | None) -> None:
        """Wait after so many failures of one request. `retry_after`: seconds that the service has asked for."""
        if retry_after is not None:
            self._not_before = max(self._not_before, time.monotonic() + retry_after)
            await self.for_turn()
        else:
            await asyncio.sleep(_jittered(min(_MOST_SECONDS, _FIRST_SECONDS * 2 ** (failures - 1))))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, out of a number or a date in `Retry-After`; None: there is none that can be read."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MOST_ASKED_SECONDS) if seconds == seconds else None


def _jittered(seconds: float) -> float:
    return seconds * (1 + _JITTER * random.random())  # noqa: S311 - no secret
