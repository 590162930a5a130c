"""What is told of an operation, for the routes and for /openapi.json."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from clipserve.api.answers import ProblemJson
from clipserve.application.body import Body
from clipserve.rest.front import Front
from clipserve.rest.request import Request

Handler = Callable[[Front, Request, Body], Awaitable[Response]]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Answered:
    """An answer that is no error.

    Attributes:
        kind: the type of its JSON; None: it has none.
        headers: beside those of all answers; in `document/common.json`.
        others: its content in other media types than JSON.
    """

    description: str
    kind: type[Any] | None = None
    example: Any = None
    headers: Sequence[str] = ()
    others: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A method of a path.

    Attributes:
        name: both, such as "POST /embed".
        handler: None: the body is a stream, and something else reads it.
        answers: by status; one alone is that of 200.
        id: empty: the name of the handler.
        kind: the type of the request in JSON.
        example, examples: of this JSON; several have names.
        form: the request may be a form too.
        beside_image: the body may be an image, and the other fields in the query, such as these.
        body: the content of a body that no type describes.
        query: the type of the fields in the query, if the body has none.
        images: the body may have images.
        errors: codes besides those of all operations, of all with keys, with a body and with images.
        open: it needs no key.
        error: the type of an error's answer.
    """

    name: str
    handler: Handler | None
    summary: str
    answers: Answered | Mapping[int, Answered]
    tag: str = "clients of other servers"
    id: str = ""
    description: str = ""
    kind: type[Any] | None = None
    example: Any = None
    examples: Json = field(default_factory=dict)
    form: bool = False
    beside_image: str = ""
    body: Json = field(default_factory=dict)
    query: type[Any] | None = None
    images: bool = True
    parameters: Sequence[Json] = ()
    errors: Sequence[str] = ()
    open: bool = False
    error: type[Any] = ProblemJson

    @property
    def method(self) -> str:
        return self.name.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.name.partition(" ")[2]
