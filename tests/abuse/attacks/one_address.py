"""All connections that one address may have, and more, in closed loops on a route: others are to notice little."""

from __future__ import annotations

from collections.abc import Iterator

from tests.abuse.attack import Attack, whole
from tests.abuse.loops import ROUTES

CONNECTIONS = 540


def attacks() -> Iterator[Attack]:
    for route, make in ROUTES.items():
        yield Attack(
            "one address",
            f"{CONNECTIONS} connections in loops: {route}",
            whole(make),
            legal=True,
            slow=True,
            loops=(CONNECTIONS, route),
        )
