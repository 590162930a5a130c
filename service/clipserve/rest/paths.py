"""Which route a path belongs to. It is asked once for each request, so that nobody takes a path for another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class FoundRoute:
    """What belongs to a path.

    Attributes:
        template: the path as the route has it, such as /label-sets/{name}; empty: there is none.
        routes: by method.
        names: what stands in the places of the template.
    """

    template: str = ""
    routes: Mapping[str, Route] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


NOWHERE = FoundRoute()


class Paths:
    """All routes. As an ASGI application it answers as the route does that `find` has found (`scope["found"]`).

    A path is a route's or it is not: none is redirected to the same one with a slash behind it, or without.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            if isinstance(route, Route):
                methods.setdefault(route.path, {}).update(dict.fromkeys(route.methods or (), route))
        self._named = [FoundRoute(path, own) for path, own in methods.items() if "{" in path]
        self._plain = {path: FoundRoute(path, own) for path, own in methods.items() if "{" not in path}

    def find(self, path: str) -> FoundRoute:
        """NOWHERE: it is no route's."""
        if found := self._plain.get(path):
            return found
        for found in self._named:
            pattern = next(iter(found.routes.values())).path_regex
            if match := pattern.fullmatch(path):  # `match` lets a line end stand behind
                return FoundRoute(found.template, found.routes, match.groupdict())
        return NOWHERE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises HTTPException: there is no such path, or not with this method."""
        found: FoundRoute = scope["found"]
        if not found.routes:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        route = found.routes.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted(found.routes))
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        scope["path_params"] = found.names
        await route.app(scope, receive, send)
