"""The core's errors as HTTP: one table, one body (RFC 9457, application/problem+json)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from service import errors
from service.errors import ClipError

# The most specific class decides.
STATUS: dict[type[ClipError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.BAD_REQUEST,
    errors.UndecodableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooMany: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendFailed: HTTPStatus.BAD_GATEWAY,
}

# A fault of ours, whatever it was: rendered, never raised. The log has the traceback under the same request id.
UNEXPECTED = ClipError("the service failed unexpectedly.")


# Errors that only this front knows: the path or the method is wrong.
FRONT_CODES = {HTTPStatus.NOT_FOUND: "not_found", HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed"}


def kinds(kind: type[ClipError] = ClipError) -> list[type[ClipError]]:
    """The whole tree of errors, in the order of the source."""
    return [kind, *(each for child in kind.__subclasses__() for each in kinds(child))]


def status_of(error: ClipError) -> HTTPStatus:
    """The status of this error."""
    return status_of_kind(type(error))


def status_of_kind(kind: type[ClipError]) -> HTTPStatus:
    """The status of the nearest ancestor in STATUS."""
    for ancestor in kind.__mro__:
        if ancestor in STATUS:
            return STATUS[ancestor]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def fields(error: ClipError) -> dict[str, Any]:
    """What a caller is told: also the `error` of one item among several."""
    told = {"code": error.code, "detail": error.detail}
    details = {"limit": error.limit, "actual": error.actual, "index": error.index}
    return told | {key: value for key, value in details.items() if value is not None}


def problem(error: ClipError, request_id: str) -> Response:
    """The answer to a request that failed as a whole."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return problem_response(status, fields(error), request_id, headers)


def problem_response(
    status: HTTPStatus, told: dict[str, Any], request_id: str, headers: dict[str, str] | None = None
) -> Response:
    """A problem of the front itself, e.g. no such path."""
    body = {
        "type": f"urn:clipserve:error:{told['code']}",
        "title": status.phrase,
        "status": status.value,
        **told,
        "request_id": request_id,
    }
    return Response(orjson.dumps(body), status.value, headers, "application/problem+json")
