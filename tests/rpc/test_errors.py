"""Every error has a status. `tests.rpc.client` takes the details apart, and tests/apis compares them with REST."""

from __future__ import annotations

import io
import json
from pathlib import Path

import grpc
import pytest

from clipserve import errors
from clipserve.errors import kinds
from clipserve.rpc.errors import STATUS, status_of
from tests.rest.test_garbage import Failing
from tests.rpc.client import Refused, client_of
from tests.support.service import serving

RETRIED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


def test_no_error_of_the_core_is_without_a_row_of_its_own_or_an_ancestor_s() -> None:
    for kind in kinds()[1:]:
        assert any(ancestor in STATUS for ancestor in kind.__mro__), kind


def test_a_client_that_tries_again_whatever_may_pass_does_not_do_so_with_what_never_will() -> None:
    for kind in kinds(errors.InvalidInput):
        assert (status_of(kind) in RETRIED) == (kind is errors.BodyTooLarge), kind


async def test_the_log_has_the_traceback_of_an_unexpected_error(toy: Path, written: io.StringIO) -> None:
    backend = Failing()
    async with serving(backend, toy, grpc_enabled=True) as running, client_of(running.rpc_address) as client:
        backend.failing, backend.error = True, KeyError("a secret")
        with pytest.raises(Refused) as refused:
            await client.call("Embed", texts=["a"], metadata=[("x-request-id", "abc")])
    assert refused.value.request_id == "abc"
    lines = map(json.loads, written.getvalue().splitlines())
    (line,) = (each for each in lines if each["level"] == "error")
    assert (line["event"], line["request_id"]) == ("unexpected", "abc")
    assert "a secret" in line["exception"]
