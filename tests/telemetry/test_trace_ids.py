"""The id of a trace leads from a log line to the spans; what is not traced has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clipserve.telemetry.request import RequestContext, SharedContext, add_request_ids, enter
from clipserve.telemetry.tracing import begin
from tests.telemetry.traced import SAMPLED, TRACE, tracing


@pytest.fixture(autouse=True)
def nobody_s_request() -> Iterator[None]:
    yield
    enter(None)


def test_log_lines_of_a_traced_request_have_its_trace_and_lines_of_shared_work_those_of_all() -> None:
    with tracing():
        one, other = RequestContext("a", span=begin(SAMPLED)), RequestContext("b")
        enter(one)
        assert add_request_ids(None, "info", {}) == {"request_id": "a", "trace_id": TRACE}
        enter(other)
        assert add_request_ids(None, "info", {}) == {"request_id": "b"}
        enter(SharedContext([one, other]))
        assert add_request_ids(None, "info", {}) == {"request_ids": ["a", "b"], "trace_ids": [TRACE]}
