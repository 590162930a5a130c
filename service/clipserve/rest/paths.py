"""Finds the route of a path, once for each request, so that all parts of the front agree on it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send

from clipserve.application.body import Body
from clipserve.quota import Lease
from clipserve.rest.request import Request


class Streaming(ABC):
    """An endpoint that answers a request while its body arrives, without a deadline."""

    @abstractmethod
    async def __call__(self, request: Request, receive: Receive, send: Send, lease: Lease) -> None:
        """Read the body, charge its bytes to `lease` and send the answer."""


Endpoint = Callable[[Request, Body], Awaitable[Response]] | Streaming


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

    def answer(self, request: Request, body: Body) -> Awaitable[Response]:
        """The answer of the endpoint.

        Raises:
            HTTPException: the path does not exist, or not with this method.
        """
        if not self.endpoints:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        endpoint = self.endpoints.get(request.method)
        if endpoint is None or isinstance(endpoint, Streaming):
            allowed = ", ".join(sorted(self.endpoints))
            detail = f"{self.template} takes {allowed}. See /docs."
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": allowed})
        return endpoint(request, body)


_NOWHERE = FoundRoute()


class Paths:
    """All routes. Paths must match exactly: a trailing slash makes another path."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """`routes`: each has an `Endpoint`."""
        endpoints: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, re.Pattern[str]] = {}  # of templates
        for route in routes:
            if isinstance(route, Route):
                of_path = endpoints.setdefault(route.path, {})
                of_path.update(dict.fromkeys(route.methods or (), route.endpoint))
                patterns[route.path] = route.path_regex
        found = {path: FoundRoute(path, of_path) for path, of_path in endpoints.items()}
        self._plain = {path: route for path, route in found.items() if "{" not in path}
        self._named = [(patterns[path], route) for path, route in found.items() if "{" in path]

    def find(self, path: str) -> FoundRoute:
        """The route of this path; an empty one if there is none."""
        if found := self._plain.get(path):
            return found
        for pattern, found in self._named:
            if match := pattern.fullmatch(path):  # `match` would allow a line end after the path
                return FoundRoute(found.template, found.endpoints, match.groupdict())
        return _NOWHERE
