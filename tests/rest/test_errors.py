"""Every error of the core has one code and one status."""

from __future__ import annotations

import io
import json
from http import HTTPStatus

import numpy as np
import orjson
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from starlette.exceptions import HTTPException
from starlette.responses import Response

from clipserve import errors
from clipserve.errors import ClipError, Overloaded, kinds
from clipserve.rest.compat.openai import openai_error
from clipserve.rest.compat.shared import error_alone
from clipserve.rest.errors import Failure, Render, fields, problem, rendered, status_of
from clipserve.rpc.errors import failure_of
from clipserve.telemetry import log


def made(kind: type[ClipError]) -> ClipError:
    if issubclass(kind, Overloaded | errors.LabelSetNotReady):
        return kind("x", retry_after=0.2)
    return kind("x", limit=1, actual=2, index=0)


# Of the caller, though no input of his is invalid.
CALLERS = (
    errors.UnknownModel,
    errors.WrongFingerprint,
    errors.Unauthenticated,
    errors.PermissionDenied,
    errors.UnknownTemplateSet,
    errors.UnknownLabelSet,
    errors.LabelSetFailed,
)


def test_codes_are_distinct_and_bad_input_is_never_the_server_s_fault() -> None:
    assert len({kind.code for kind in kinds()}) == len(kinds())
    for kind in kinds():
        status = status_of(kind)
        assert (400 <= status < 500) == issubclass(kind, (errors.InvalidInput, Overloaded, *CALLERS))


def test_a_problem_says_limit_actual_index_and_request_id() -> None:
    response = problem(errors.TextTooLong("too long", limit=77, actual=90, index=3), "abc")
    assert response.media_type == "application/problem+json"
    body = orjson.loads(response.body)
    assert body["type"] == "urn:clipserve:error:text_too_long"
    assert (body["limit"], body["actual"], body["index"], body["request_id"]) == (77, 90, 3, "abc")
    assert set(fields(errors.InvalidInput("x"))) == {"code", "detail"}


def test_overload_says_when_to_come_back_in_whole_seconds() -> None:
    for seconds, told in ((0, "1"), (0.2, "1"), (1, "1"), (2, "2"), (2.1, "3")):
        assert problem(Overloaded("x", retry_after=seconds), "abc").headers["retry-after"] == told
    assert "retry-after" not in problem(errors.DeadlineExceeded("x"), "abc").headers


@pytest.mark.parametrize(
    ("error", "word", "status", "told"),
    [
        (errors.UnknownModel("no such model."), "unknown_model", 404, ("unknown_model", "no such model.")),
        (
            HTTPException(405, headers={"Allow": "GET"}),
            "405",
            405,
            ("method_not_allowed", "Method Not Allowed. See /docs."),
        ),
        (KeyError("secret"), "internal_error", 500, ("internal_error", "the service failed unexpectedly.")),
    ],
)
def test_whatever_fails_a_request_has_a_word_for_the_metrics_and_a_problem_for_the_caller(
    error: Exception, word: str, status: int, told: tuple[str, str]
) -> None:
    outcome, response = rendered(error, "abc")
    assert (outcome, response.status_code) == (word, status)
    assert response.headers.get("allow") == ("GET" if status == 405 else None)
    assert orjson.loads(response.body) == {
        "type": f"urn:clipserve:error:{told[0]}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": told[0],
        "detail": told[1],
        "request_id": "abc",
    }


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**64, 2.0**64),
        (np.float64(0.5), 0.5),
        (10**400, None),
        (float("nan"), None),
    ],
)
@pytest.mark.parametrize("render", [problem, openai_error, error_alone])
def test_a_number_that_json_cannot_hold_is_told_as_well_as_it_can_be(
    render: Render, number: float, told: float | None
) -> None:
    error = errors.TooMany("too many", limit=number, actual=number, index=0)
    assert (fields(error).get("limit"), fields(error).get("actual")) == (told, told)
    outcome, response = rendered(error, "abc", render)
    assert (outcome, response.status_code) == ("too_many", 413)
    assert orjson.loads(response.body)
    metadata = error_details_pb2.ErrorInfo()
    assert any(
        detail.Unpack(metadata) and metadata.metadata.get("actual") == (None if told is None else str(told))
        for detail in status_pb2.Status.FromString(failure_of(error, "abc").details).details
    )


@pytest.mark.parametrize("render", [problem, openai_error, error_alone])
def test_a_detail_is_of_whole_characters_and_not_of_any_length(render: Render) -> None:
    error = errors.UnknownModel("no model " + "\ud800" + "m" * 100_000)
    assert (error.detail[:12], len(error.detail)) == ("no model ?mm", 2_003)
    assert rendered(error, "abc", render)[1].status_code == 404
    assert failure_of(error, "abc").code == StatusCode.NOT_FOUND


def test_an_error_that_cannot_be_rendered_is_an_answer_too_and_logged() -> None:
    def broken(error: Failure, request_id: str) -> Response:
        raise TypeError("no such thing in JSON")

    stream = io.StringIO()
    log.configure("INFO", stream)
    try:
        outcome, response = rendered(errors.InvalidInput("x"), "abc", broken)
    finally:
        log.configure("CRITICAL")
    assert (outcome, response.status_code) == ("internal_error", 500)
    assert orjson.loads(response.body)["request_id"] == "abc"
    assert "TypeError: no such thing in JSON" in json.loads(stream.getvalue())["exception"]
