"""What the handlers of this front share: reading a request and rendering an answer, long ones beside the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self, TypeVar

from clipserve.api.limits import RequestLimits
from clipserve.application.body import Body
from clipserve.application.shared import Shared
from clipserve.rest.request import Request
from clipserve.rest.uploads import is_image, media_type, parse

T = TypeVar("T")
Parsed = TypeVar("Parsed")


class Checked(Protocol):
    """A request of `clipserve.api.requests`."""

    def check(self, limits: RequestLimits) -> Self: ...


C = TypeVar("C", bound=Checked)


@dataclass(frozen=True)
class Front(Shared):
    """What all fronts share, and the options of this one. `max_json_bytes`: of a body besides its images."""

    max_json_bytes: int = field(kw_only=True)

    async def read(self, kind: type[C], request: Request, body: Body) -> C:
        """The checked request of this kind: a form, JSON, or fields beside the bytes of an image.

        Raises:
            ClipError: see `parse`, and the kind's `check`.
        """
        content = media_type(request)
        parse = partial(_checked, self, kind, content, request)
        return await body.parsed(parse, _of_query(request) if is_image(content) else len)

    async def parsed(
        self,
        parse: Callable[[str, Request, Body, int], Parsed],
        read: Callable[[Parsed, Request, RequestLimits], T],
        request: Request,
        body: Body,
    ) -> T:
        """What `read` makes of the parsed body. Both run beside the event loop unless the body is short.

        Raises:
            ClipError: any error of the two.
        """
        return await body.parsed(partial(_parsed, self, parse, read, request))


def _of_query(request: Request) -> Callable[[bytes], int]:
    return lambda _: len(request.query)


def _parsed(
    front: Front,
    parse: Callable[[str, Request, Body, int], Parsed],
    read: Callable[[Parsed, Request, RequestLimits], T],
    request: Request,
    body: Body,
) -> T:
    parsed = parse(media_type(request), request, body, front.max_json_bytes)
    return read(parsed, request, front.inference.limits)


def _checked(front: Front, kind: type[C], content: str, request: Request, body: Body) -> C:
    upload = parse(content, request, body, front.max_json_bytes)
    return upload.read(kind, request).check(front.inference.limits)
