"""How /openapi.json describes one operation: statuses, headers, media types, errors, each with an example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from clipserve import errors
from clipserve.errors import ClipError
from clipserve.rest.errors import kinds, status_of_kind

Arguments = dict[str, Any]  # of a route's decorator

HEADERS = {
    "X-Request-Id": {
        "description": "that of the request if it is 1 to 64 of A-Z a-z 0-9 . _ -, otherwise a new one",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Server-Timing": {
        "description": "milliseconds of the stages that the request went through",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds until the service expects to have room",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Retry-After-If-Known": {
        "description": "seconds until the label set is expected to be built",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-Model-Fingerprint": {
        "description": "the fingerprint, where the answer has no field for it",
        "schema": {"type": "string"},
    },
}

EXPECT_FINGERPRINT = {
    "name": "X-Expect-Fingerprint",
    "in": "header",
    "description": "the same as the field expect_fingerprint, which counts where both are given",
    "schema": {"type": "string"},
}

# What any request may meet before an endpoint sees it, or instead of it.
COMMON = (
    ClipError,
    errors.InvalidInput,
    errors.MisdirectedRequest,
    errors.BodyTooLarge,
    errors.BodyTooSlow,
    errors.Overloaded,
    errors.DeadlineExceeded,
)
KEYED = (*COMMON, errors.Unauthenticated, errors.PermissionDenied, errors.RateLimited)
_OF_TEMPLATES = (errors.BadPromptTemplate, errors.UnknownTemplateSet)
_OF_LABEL_SETS = (
    errors.UnknownLabelSet,
    errors.LabelSetReadOnly,
    errors.LabelSetNotReady,
    errors.LabelSetFailed,
    errors.StoreUnavailable,
)


def all_but(*left_out: type[ClipError]) -> list[type[ClipError]]:
    """All kinds of errors without these."""
    return [kind for kind in kinds() if kind not in left_out]


CLASSIFYING = all_but(errors.LabelSetReadOnly, errors.UnknownTemplateSet)
PROMPTING = all_but(*_OF_LABEL_SETS, errors.UnknownTemplateSet)
NO_TEMPLATES = all_but(*_OF_LABEL_SETS, *_OF_TEMPLATES)
NO_IMAGES = [
    kind
    for kind in NO_TEMPLATES
    if kind not in (errors.UndecodableImage, errors.UnsupportedFormat, errors.ImageTooLarge)
]


def problem_content(status: HTTPStatus, code: str) -> Arguments:
    """The body of an error with this code, as problem+json."""
    example = {
        "type": f"urn:clipserve:error:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": "What was wrong, in a sentence.",
        "request_id": "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"content": {"application/problem+json": {"schema": schema, "example": example}}}


def operation(
    name: str,
    model: type[BaseModel],
    example: object,
    raised: Iterable[type[ClipError]] = COMMON,
    error_content: Callable[[HTTPStatus, str], Arguments] = problem_content,
) -> Arguments:
    """`raised`: the errors that it may answer. `error_content`: their body."""
    return {
        "operation_id": name,
        "response_model": model,
        "responses": {200: success(example)} | failures(raised, error_content),
    }


def success(example: object) -> Arguments:
    return {"headers": refer("Server-Timing"), "content": {"application/json": {"example": example}}}


def failures(
    raised: Iterable[type[ClipError]], content: Callable[[HTTPStatus, str], Arguments] = problem_content
) -> dict[int, Arguments]:
    """By their status; `content`: the body of each."""
    by_status: dict[HTTPStatus, list[str]] = {}
    for kind in raised:
        by_status.setdefault(status_of_kind(kind), []).append(kind.code)
    return {
        int(status): _failure(status, by_status[status]) | content(status, by_status[status][0])
        for status in sorted(by_status)
    }


def _failure(status: HTTPStatus, codes: Sequence[str]) -> Arguments:
    return {
        "description": f"{status.phrase}. Codes: {', '.join(codes)}.",
        "headers": refer(*(["Retry-After"] if errors.Overloaded.code in codes else []))
        | (RETRY_IF_KNOWN if errors.LabelSetNotReady.code in codes else {}),
    }


RETRY_IF_KNOWN = {"Retry-After": {"$ref": "#/components/headers/Retry-After-If-Known"}}


def refer(*headers: str) -> Arguments:
    """These headers, besides the one that every answer has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)}
