"""A `Gate` that asks for a key."""

from __future__ import annotations

from clipserve.access.gate import Scope
from clipserve.access.keys import Keys, allow
from clipserve.access.rates import Rates
from clipserve.telemetry.request import RequestContext, current


class KeyedGate:
    """See `clipserve.access.gate.Gate`."""

    def __init__(self, keys: Keys, rates: Rates) -> None:
        self._keys = keys
        self._rates = rates

    async def enter(self, authorization: str | None, scope: Scope) -> None:
        key = self._keys.find(authorization)
        request = current()
        if key and isinstance(request, RequestContext):
            request.key, request.digest, request.scope = key.name, key.sha256, scope
        self._rates.check(allow(key, scope))

    async def charge(self, *, rows: int = 0, size: int = 0) -> None:
        request = current()
        if isinstance(request, RequestContext) and request.digest and request.scope:
            # Not by its name: another key may have it now.
            key = allow(self._keys.of(request.digest), request.scope)
            await self._rates.charge(key, rows, size)
