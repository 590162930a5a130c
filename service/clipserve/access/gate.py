"""Who may ask, and how often. The fronts ask here before they read a body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from clipserve.access.keys import Keys, Scope, allow
from clipserve.access.rates import Rates
from clipserve.errors import RateLimited
from clipserve.telemetry.request import RequestContext, current


class Gate:
    """Asks for a key and charges its rates. Without keys it is open to everybody."""

    def __init__(self, keys: Keys | None = None, rates: Rates | None = None) -> None:
        """`rates`: of the keys, which need them."""
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
