"""Who may ask, and how much: rows and bytes a second of a key. The fronts ask here before they read a body."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, RateLimitItemPerSecond

from clipserve.access.keys import Key, Keys, Scope, allow
from clipserve.access.windows import Windows
from clipserve.errors import BodyTooLarge, RateLimited, TooMany
from clipserve.telemetry.request import RequestContext, current

Unit = Literal["rows", "bytes"]

_LEAST_SECONDS = 0.01


@dataclass(frozen=True)
class RateOptions:
    """For keys without rates of their own; 0: no limit.

    A key that has used nothing may use what the seconds of the window allow at once; no request may have more.
    """

    rows_per_second: int
    bytes_per_second: int
    rate_window_seconds: int = 10


class Rates:
    """How much of their rates the keys have used."""

    def __init__(self, options: RateOptions, windows: Windows) -> None:
        self._options = options
        self._windows = windows
        self._used_up: dict[str, tuple[float, RateLimitItem]] = {}  # digest -> until when

    def check(self, key: Key) -> None:
        """Asks nobody: whether it is known that the key has nothing left.

        Raises:
            RateLimited: it is.
        """
        if key.sha256 not in self._used_up:
            return
        until, item = self._used_up[key.sha256]
        seconds = until - time.monotonic()
        if seconds > 0:
            raise _limited(item, seconds)
        del self._used_up[key.sha256]

    async def charge(self, key: Key, rows: int, size: int) -> None:
        """Take these from the rate of the key.

        Raises:
            RateLimited: they do not fit now.
            TooMany, BodyTooLarge: they never would.
        """
        if rows and (rate := _own_or(key.rows_per_second, self._options.rows_per_second)):
            await self._take(key, _item("rows", rate, self._options.rate_window_seconds), rows)
        if size and (rate := _own_or(key.bytes_per_second, self._options.bytes_per_second)):
            await self._take(key, _item("bytes", rate, self._options.rate_window_seconds), size)

    async def _take(self, key: Key, item: RateLimitItem, cost: int) -> None:
        if cost > item.amount:
            raise _never(item, cost)
        # Not by its name: that is in the log of requests, and in no other place.
        refusal = await self._windows.take(item, key.sha256[:16], cost)
        if refusal:
            # Not zero, although there may be room already: those who wait would ask again without a pause.
            seconds = max(refusal.seconds, _LEAST_SECONDS)
            self._used_up[key.sha256] = time.monotonic() + refusal.seconds_for_one, item
            raise _limited(item, seconds)


def _own_or(own: int | None, common: int) -> int:
    return common if own is None else own


@functools.lru_cache(4_096)
def _item(unit: Unit, rate: int, seconds: int) -> RateLimitItem:
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
    """Asks for a key and charges its rates. Without keys it is open to everybody."""

    def __init__(self, keys: Keys | None = None, rates: Rates | None = None) -> None:
        """`rates`: of the keys; one does not come without the other."""
        if (keys is None) != (rates is None):
            raise ValueError("keys and their rates come together.")
        self._keys = keys
        self._rates = rates

    async def enter(self, authorization: str | None, scope: Scope) -> None:
        """Let a request in, and note the name of its key in its `RequestContext`.

        `authorization`: the header or the metadata of that name.

        Raises:
            Unauthenticated: there is no key, or not one that is known.
            PermissionDenied: the key is not for this.
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
        """Take rows, and bytes of a body, from the rate of the key that the present request came with.

        A request that came without a key is charged nothing.

        Raises:
            Unauthenticated, PermissionDenied: the key is not known any more, or not for this any more.
            RateLimited: it has used up its rate; says after how many seconds to come back.
            TooMany, BodyTooLarge: these are more than the rate allows at once, now or later.
        """
        if self._keys is None or self._rates is None:
            return
        request = current()
        if isinstance(request, RequestContext) and request.digest and request.scope:
            # Not by its name: another key may have it now.
            key = allow(self._keys.of(request.digest), request.scope)
            await self._rates.charge(key, rows, size)


async def when_there_is_room(charge: Callable[[], Awaitable[None]]) -> None:
    """Charge as soon as the rate has room for it: for a request that can wait.

    Raises:
        Unauthenticated, PermissionDenied: the key has been taken away meanwhile.
        TooMany, BodyTooLarge: it never will have.
    """
    while True:
        try:
            await charge()
            return
        except RateLimited as error:
            await asyncio.sleep(error.retry_after)
