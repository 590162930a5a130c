"""What a request carries with it, alone and where work is done for several."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

from clipserve.telemetry.request import (
    RequestContext,
    SharedContext,
    add_stage,
    current,
    enter,
    of_batch,
    remaining,
    request_id,
    task_context,
)


@pytest.fixture(autouse=True)
def nobody_s_request() -> Iterator[None]:
    enter(None)
    yield
    enter(None)


def test_the_seconds_left_are_never_negative() -> None:
    enter(RequestContext("a", time.monotonic() + 100))
    assert 90 < remaining(7.0) <= 100
    enter(RequestContext("a", time.monotonic() - 1))
    assert remaining(7.0) == 0.0
    enter(RequestContext("a"))
    assert remaining(7.0) == 7.0


def test_times_of_one_stage_add_up() -> None:
    request = RequestContext("a", began=10.0)
    enter(request)
    add_stage("decode", 10.0, 11.0)
    add_stage("decode", 12.0, 12.5)
    add_stage("tokenize", 12.0, 12.25)
    assert request.stages == {"decode": 1.5, "tokenize": 0.25}


def test_of_what_ran_before_the_request_for_others_only_the_rest_counts() -> None:
    request = RequestContext("a", began=10.0)
    enter(request)
    add_stage("decode", 5.0, 13.0)
    add_stage("encode_text", 5.0, 9.0)
    assert request.stages == {"decode": 3.0, "encode_text": 0.0}


def test_a_batch_has_the_latest_deadline_of_its_rows() -> None:
    soon, late, never = RequestContext("a", 1.0), RequestContext("b", 2.0), RequestContext("c")
    assert of_batch([soon, late, soon]).deadline == 2.0
    assert of_batch([soon, late, never]).deadline is None, "a request without a deadline is cut off"
    assert of_batch([soon, None]).deadline is None, "work outside of any request is cut off"
    assert of_batch([]).deadline is None


def test_a_batch_knows_each_of_its_requests_once_also_those_behind_shared_work() -> None:
    first, second = RequestContext("a"), RequestContext("b")
    shared = SharedContext([first, second])
    assert of_batch([first, shared, None, first]).requests == [first, second]


async def test_a_task_works_for_its_own_context_and_its_maker_for_his() -> None:
    mine, its = RequestContext("a"), RequestContext("b")
    enter(mine)

    async def seen() -> object:
        return current()

    assert await asyncio.create_task(seen(), context=task_context(its)) is its
    assert current() is mine


def test_a_plain_word_is_the_id_of_a_request_and_anything_else_is_replaced() -> None:
    assert request_id("abc-1._Z") == "abc-1._Z"
    for given in (None, "", "a b", "a" * 65, "<script>", "a\n"):
        made = request_id(given)
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert made != request_id(given)


def test_the_stages_are_told_in_milliseconds_and_none_is_nothing() -> None:
    assert RequestContext("a").server_timing == ""
    request = RequestContext("a", stages={"decode": 0.01234, "tokenize": 0.001})
    assert request.server_timing == "decode;dur=12.3, tokenize;dur=1.0"
