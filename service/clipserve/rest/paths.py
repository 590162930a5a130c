"""Finds the route of a path, once for each request, so that all parts of the front agree on it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class FoundRoute:
    """The route of a path.

    Attributes:
        template: the route's path, such as /label-sets/{name}; empty: there is no route.
        endpoints: by method.
        names: the values of the template's parameters.
    """

    template: str = ""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, request: Request) -> Response:
        """The answer of the endpoint.

        Raises:
            HTTPException: the path does not exist, or not with this method.
            Exception: any error of the endpoint.
        """
        if not self.endpoints:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        endpoint = self.endpoints.get(request.method)
        if endpoint is None:
            allowed = ", ".join(sorted(self.endpoints))
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        request.scope["path_params"] = self.names
        return await endpoint(request)


_NOWHERE = FoundRoute()


class Paths:
    """All routes. Paths must match exactly: a trailing slash makes another path."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """`routes`: the endpoint of each is a function of a request."""
        endpoints: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, re.Pattern[str]] = {}  # of templates
        for route in routes:
            if isinstance(route, Route):
                own = endpoints.setdefault(route.path, {})
                own.update(dict.fromkeys(route.methods or (), route.endpoint))
                patterns[route.path] = route.path_regex
        found = {path: FoundRoute(path, own) for path, own in endpoints.items()}
        self._plain = {path: each for path, each in found.items() if "{" not in path}
        self._named = [(patterns[path], each) for path, each in found.items() if "{" in path]

    def find(self, path: str) -> FoundRoute:
        """The route of this path; an empty one if there is none."""
        if found := self._plain.get(path):
            return found
        for pattern, found in self._named:
            if match := pattern.fullmatch(path):  # `match` would allow a line end after the path
                return FoundRoute(found.template, found.endpoints, match.groupdict())
        return _NOWHERE
