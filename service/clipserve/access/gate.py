"""Checks keys, and charges their rates: rows and bytes a second. REST and gRPC call it before they read a body."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipserve.access.keys import Key, Keys, Scope, allow
from clipserve.access.rate_counter import REDIS_SECONDS, LocalRateCounter, RateCounter
from clipserve.errors import BodyTooLarge, RateLimited, TooMany
from clipserve.telemetry.request import RequestContext, current

if TYPE_CHECKING:
    from limits import RateLimitItem

Unit = Literal["rows", "bytes"]

_LEAST_SECONDS = 0.01  # of a wait: with 0, waiting requests would retry without a pause


@dataclass(frozen=True)
class RateOptions:
    """The rates of keys that have none of their own; 0: no limit.

    An unused key may use the whole window's share at once, which is also the most of one request.
    `redis_seconds`: for an answer of Redis, after which this process counts by itself.
    """

    rows_per_second: int = 0
    bytes_per_second: int = 0
    rate_window_seconds: int = 10
    redis_seconds: float = REDIS_SECONDS


class Gate:
    """Requires a key and charges its rates. Without keys, it lets everybody in."""

    def __init__(
        self,
        keys: Keys | None = None,
        options: RateOptions = RateOptions(),
        counter: RateCounter | None = None,
        count_usage: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        """`counter`: None: this process counts by itself. `count_usage` takes a key's name, rows, bytes."""
        self._keys, self._options = keys, options
        self._counter, self._count_usage = counter or LocalRateCounter(), count_usage

    async def enter(self, authorization: str | None, scope: Scope) -> None:
        """Let a request in, and note its key in its `RequestContext`.

        Raises:
            Unauthenticated, PermissionDenied: `authorization` has no key, an unknown one, or one without the scope.
        """
        if self._keys is None:
            return
        key = self._keys.find(authorization)
        request = current()
        if key and isinstance(request, RequestContext):
            request.key, request.digest, request.scope = key.name, key.sha256, scope
        allow(key, scope)

    async def charge(self, *, rows: int = 0, size: int = 0) -> None:
        """Charge rows, and bytes of a body, to the rates of the current request's key; nothing without a key.

        Raises:
            Unauthenticated, PermissionDenied: the key is no longer known, or has lost the scope.
            RateLimited: it has used up its rate; has the seconds until a retry.
            TooMany, BodyTooLarge: these are more than the rate ever allows at once.
        """
        request = current()
        if self._keys is None or not isinstance(request, RequestContext):
            return
        if request.digest and request.scope:
            # By the digest: another key may have its name now.
            key = allow(self._keys.of(request.digest), request.scope)
            await self._take(key, "rows", key.rows_per_second, self._options.rows_per_second, rows)
            await self._take(key, "bytes", key.bytes_per_second, self._options.bytes_per_second, size)
            request.charged_rows += rows
            request.charged_bytes += size
            self._count_usage(key.name, rows, size)

    async def _take(self, key: Key, unit: Unit, own: int | None, common: int, cost: int) -> None:
        rate = common if own is None else own
        if not cost or not rate:
            return
        item = _item(unit, rate, self._options.rate_window_seconds)
        said = f"{rate:,} {unit} a second, and up to {item.amount:,} at once"
        if cost > item.amount:
            raise (BodyTooLarge if unit == "bytes" else TooMany)(
                f"this is {cost:,} {unit}, more than the key may use at once: {said}. Send it in parts.",
                limit=item.amount,
                actual=cost,
            )
        # By the digest: a new key with the name of an old one has a rate of its own.
        seconds = await self._counter.take(item, key.sha256[:16], cost)
        if seconds is not None:
            seconds = max(seconds, _LEAST_SECONDS)
            raise RateLimited(
                f"the key has used up its rate: {said}; there is room for this in {seconds:.1f} s.",
                retry_after=seconds,
            )


@functools.lru_cache(4_096)
def _item(unit: Unit, rate: int, seconds: int) -> RateLimitItem:
    from limits import RateLimitItemPerSecond  # a service without keys does not load it

    return RateLimitItemPerSecond(rate * seconds, seconds, unit)


async def when_there_is_room(charge: Callable[[], Awaitable[None]]) -> None:
    """Charge as soon as the rate has room: for a request that can wait.

    Raises:
        Unauthenticated, PermissionDenied: the key was removed, or lost the scope, meanwhile.
        TooMany, BodyTooLarge: the rate never has room for this.
    """
    while True:
        try:
            await charge()
            return
        except RateLimited as error:
            await asyncio.sleep(error.retry_after)
