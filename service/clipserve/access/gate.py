"""Checks keys, and charges their rates: rows and bytes a second. The fronts call it before they read a body."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipserve.access.keys import Key, Keys, Scope, allow
from clipserve.access.rate_counter import REDIS_SECONDS, RateCounter
from clipserve.errors import BodyTooLarge, RateLimited, TooMany
from clipserve.telemetry.request import RequestContext, current

if TYPE_CHECKING:
    from limits import RateLimitItem

Unit = Literal["rows", "bytes"]

_LEAST_SECONDS = 0.01


@dataclass(frozen=True)
class RateOptions:
    """The rates of keys that have none of their own; 0: no limit.

    An unused key may use the whole window's share at once, which is also the most of one request.
    `redis_seconds`: for an answer of Redis, after which this process counts by itself.
    """

    rows_per_second: int
    bytes_per_second: int
    rate_window_seconds: int = 10
    redis_seconds: float = REDIS_SECONDS


class Rates:
    """Counts how much of their rates the keys have used."""

    def __init__(self, options: RateOptions, counter: RateCounter) -> None:
        self._options = options
        self._counter = counter
        self._used_up: dict[str, tuple[float, RateLimitItem]] = {}  # digest -> until when

    def check(self, key: Key) -> None:
        """Refuse a key that is known to have used up its rate, without a look at the counts.

        Raises:
            RateLimited: it has.
        """
        if key.sha256 not in self._used_up:
            return
        until, item = self._used_up[key.sha256]
        seconds = until - time.monotonic()
        if seconds > 0:
            raise _limited(item, seconds)
        del self._used_up[key.sha256]

    async def charge(self, key: Key, rows: int, size: int) -> None:
        """Charge rows and bytes to the rates of the key.

        Raises:
            RateLimited: they do not fit now.
            TooMany, BodyTooLarge: they never will.
        """
        if rows and (rate := _own_or(key.rows_per_second, self._options.rows_per_second)):
            await self._take(key, _item("rows", rate, self._options.rate_window_seconds), rows)
        if size and (rate := _own_or(key.bytes_per_second, self._options.bytes_per_second)):
            await self._take(key, _item("bytes", rate, self._options.rate_window_seconds), size)

    async def _take(self, key: Key, item: RateLimitItem, cost: int) -> None:
        if cost > item.amount:
            raise _never(item, cost)
        # By the digest: a new key with the name of an old one has a rate of its own.
        refusal = await self._counter.take(item, key.sha256[:16], cost)
        if refusal:
            # At least this, even if there is room already: with 0, waiting requests would retry without a pause.
            seconds = max(refusal.seconds, _LEAST_SECONDS)
            self._used_up[key.sha256] = time.monotonic() + refusal.seconds_for_one, item
            raise _limited(item, seconds)


def _own_or(own: int | None, common: int) -> int:
    return common if own is None else own


@functools.lru_cache(4_096)
def _item(unit: Unit, rate: int, seconds: int) -> RateLimitItem:
    from limits import RateLimitItemPerSecond  # a service without keys does not load it

    return RateLimitItemPerSecond(rate * seconds, seconds, unit)


def _limited(item: RateLimitItem, seconds: float) -> RateLimited:
    return RateLimited(
        f"the key has used up its rate: {_said(item)}; there is room for this in {seconds:.1f} s.",
        retry_after=seconds,
    )


def _never(item: RateLimitItem, cost: int) -> TooMany | BodyTooLarge:
    kind = BodyTooLarge if item.namespace == "bytes" else TooMany
    return kind(
        f"this is {cost:,} {item.namespace}, more than the key may use at once: {_said(item)}. Send it in parts.",
        limit=item.amount,
        actual=cost,
    )


def _said(item: RateLimitItem) -> str:
    unit, seconds = item.namespace, item.get_expiry()
    return f"{item.amount // seconds:,} {unit} a second, and up to {item.amount:,} at once"


class Gate:
    """Requires a key and charges its rates. Without keys, it lets everybody in."""

    def __init__(
        self,
        keys: Keys | None = None,
        rates: Rates | None = None,
        count_usage: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        """`keys` and `rates` come together or not at all. `count_usage` takes a key's name, rows, bytes."""
        if (keys is None) != (rates is None):
            raise ValueError("keys and their rates come together.")
        self._keys = keys
        self._rates = rates
        self._count_usage = count_usage

    async def enter(self, authorization: str | None, scope: Scope) -> None:
        """Let a request in, and note the name of its key in its `RequestContext`.

        `authorization`: the header or the metadata of that name.

        Raises:
            Unauthenticated: there is no key, or it is unknown.
            PermissionDenied: the key lacks the scope.
            RateLimited: the key has used up its rate already.
        """
        if self._keys is None or self._rates is None:
            return
        key = self._keys.find(authorization)
        request = current()
        if key and isinstance(request, RequestContext):
            request.key, request.digest, request.scope = key.name, key.sha256, scope
        self._rates.check(allow(key, scope))

    async def charge(self, *, rows: int = 0, size: int = 0) -> None:
        """Charge rows, and bytes of a body, to the rates of the current request's key; nothing without a key.

        Raises:
            Unauthenticated, PermissionDenied: the key is no longer known, or has lost the scope.
            RateLimited: it has used up its rate; has the seconds until a retry.
            TooMany, BodyTooLarge: these are more than the rate ever allows at once.
        """
        if self._keys is None or self._rates is None:
            return
        request = current()
        if isinstance(request, RequestContext) and request.digest and request.scope:
            # By the digest: another key may have its name now.
            key = allow(self._keys.of(request.digest), request.scope)
            await self._rates.charge(key, rows, size)
            request.charged_rows += rows
            request.charged_bytes += size
            self._count_usage(key.name, rows, size)


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
