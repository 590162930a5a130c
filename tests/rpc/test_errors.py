"""Every error has a status. `tests.rpc.client` takes the details apart, and tests/apis compares them with REST."""

from __future__ import annotations

import io
import json
from pathlib import Path

import grpc
import pytest

from clipserve import errors
from clipserve.errors import ClipError, kinds
from clipserve.rpc.errors import STATUS, status_of
from tests.rest.test_garbage import Failing
from tests.rpc.client import Refused, client_of
from tests.support import serving

RETRIED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


def test_the_status_of_an_error_is_that_of_its_nearest_ancestor() -> None:
    assert status_of(errors.TextTooLong) == grpc.StatusCode.INVALID_ARGUMENT
    assert status_of(errors.BodyTooLarge) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status_of(errors.RateLimited) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status_of(ClipError) == grpc.StatusCode.INTERNAL


def test_no_error_of_the_core_is_without_a_row_of_its_own_or_an_ancestor_s() -> None:
    for kind in kinds()[1:]:
        assert any(ancestor in STATUS for ancestor in kind.__mro__), kind


def test_a_client_that_tries_again_whatever_may_pass_does_not_do_so_with_what_never_will() -> None:
    for kind in kinds(errors.InvalidInput):
        assert (status_of(kind) in RETRIED) == (kind is errors.BodyTooLarge), kind


async def test_an_unexpected_error_says_nothing_and_the_log_has_its_traceback(
    toy: Path, written: io.StringIO
) -> None:
    backend = Failing()
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        backend.failing, backend.error = True, KeyError("a secret")
        with pytest.raises(Refused) as refused:
            await client.call("Embed", texts=["a"], metadata=[("x-request-id", "abc")])
    assert refused.value.status == grpc.StatusCode.INTERNAL
    assert refused.value.fields == {"code": "internal_error", "detail": "the service failed unexpectedly."}
    assert refused.value.request_id == "abc"
    lines = map(json.loads, written.getvalue().splitlines())
    (line,) = (each for each in lines if each["level"] == "error")
    assert (line["event"], line["request_id"]) == ("unexpected", "abc")
    assert "a secret" in line["exception"]
