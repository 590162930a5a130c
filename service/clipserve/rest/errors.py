"""Errors as HTTP answers: a table of statuses, and one body (RFC 9457, application/problem+json) for most paths."""

from __future__ import annotations

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clipserve import errors
from clipserve.application.shared import known
from clipserve.errors import ClipError

# The most specific class decides.
STATUS: dict[type[ClipError], HTTPStatus] = {
    errors.InvalidInput: HTTPStatus.BAD_REQUEST,
    errors.UndecodableImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedFormat: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ImageTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooMany: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.MisdirectedRequest: HTTPStatus.MISDIRECTED_REQUEST,
    errors.HeadersTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.UnknownModel: HTTPStatus.NOT_FOUND,
    errors.UnknownTemplateSet: HTTPStatus.NOT_FOUND,
    errors.UnknownLabelSet: HTTPStatus.NOT_FOUND,
    errors.LabelSetNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LabelSetFailed: HTTPStatus.CONFLICT,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.WrongFingerprint: HTTPStatus.CONFLICT,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.PermissionDenied: HTTPStatus.FORBIDDEN,
    errors.TooManyConnections: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.BackendUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BackendFailed: HTTPStatus.BAD_GATEWAY,
}

_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
}  # of REST alone

# (error, request id) -> answer.
Failure = ClipError | HTTPException
Render = Callable[[Failure, str], Response]


def rendered(error: Exception, request_id: str, render: Render | None = None) -> tuple[str, Response]:
    """An error of a request -> its word in metrics and logs, and the answer.

    The word is a code of `clipserve.errors`, or a status if the framework refused the request (no such path).
    `render`: renders the error for clients that expect another form than problem+json.
    """
    failure: Failure = error if isinstance(error, HTTPException) else known(error)
    word = str(failure.status_code) if isinstance(failure, HTTPException) else failure.code
    try:
        return word, (render or problem)(failure, request_id)
    except Exception as fault:  # an error that cannot be rendered needs an answer too
        failure = known(fault)
        return failure.code, problem(failure, request_id)


async def answer_error(
    render_for: Callable[[str], Render | None], request: Request, error: Exception
) -> Response:
    """FastAPI's exception handler. `render_for`: path -> renders its errors; None: as problem+json."""
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Of all routes of the path: Starlette tells those of the first.
        path, routes = request.scope["route"].path, iter_route_contexts(request.app.routes)
        methods = {method for each in routes if each.path == path for method in each.methods or ()}
        error.headers = {"Allow": ", ".join(sorted(methods))}
    outcome, response = rendered(error, request.state.id, render_for(request.state.path))
    error.__traceback__ = None  # its frames hold the body, and the tasks that hold it
    request.state.outcome = outcome
    return response


def status_of(kind: type[ClipError]) -> HTTPStatus:
    """The status of the nearest ancestor in STATUS."""
    return errors.of_nearest(kind, STATUS, HTTPStatus.INTERNAL_SERVER_ERROR)


def fields(error: ClipError) -> dict[str, Any]:
    """The fields of an error in an answer, for a whole request or for one item."""
    return {"code": error.code, "detail": error.detail, **error.figures}


def problem(error: Failure, request_id: str) -> Response:
    """The answer to a failed request, as problem+json."""
    status, shown, headers = told(error)
    body = {
        "type": f"urn:clipserve:error:{shown['code']}",
        "title": status.phrase,
        "status": status.value,
        **shown,
        "request_id": request_id,
    }
    return Response(orjson.dumps(body), status.value, headers, "application/problem+json")


def told(error: Failure) -> tuple[HTTPStatus, dict[str, Any], dict[str, str]]:
    """The status, fields and headers of an error, which all renderings share."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = f"{status.phrase}. See /docs." if error.detail == status.phrase else error.detail
        shown = {"code": _CODES[status], "detail": detail}
        return status, shown, dict(error.headers or {})
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return status_of(type(error)), fields(error), headers
