"""Who is charged: the key that a request came with, as long as it is known."""

from __future__ import annotations

import pytest

from clipserve.access.gate import Gate, RateOptions, Rates, when_there_is_room
from clipserve.access.keys import Key, Keys
from clipserve.access.rate_counter import LocalRateCounter
from clipserve.errors import ClipError, PermissionDenied, RateLimited, Unauthenticated
from clipserve.telemetry.request import RequestContext, enter
from tests.access.support import made

KEY, KEPT = made("camera", rows_per_second=1)
ANOTHER = made("camera")[1]  # the same name, and another key


def gate_of(keys: Keys) -> Gate:
    return Gate(keys, Rates(RateOptions(0, 0, 10), LocalRateCounter()))


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        ([], Unauthenticated),
        ([ANOTHER], Unauthenticated),
        ([KEPT.model_copy(update={"scopes": ("manage",)})], PermissionDenied),
    ],
    ids=["removed", "replaced by another of its name", "for something else now"],
)
async def test_a_request_whose_key_was_taken_away_is_charged_no_more(
    known: list[Key], kind: type[ClipError]
) -> None:
    keys = Keys([KEPT])
    gate = gate_of(keys)
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {KEY}", "use")
    await gate.charge(rows=1)
    keys.replace(known)
    for cost in ({"rows": 1}, {"size": 1}):
        with pytest.raises(kind):
            await gate.charge(**cost)
    with pytest.raises(kind):
        await when_there_is_room(lambda: gate.charge(rows=1))


async def test_the_rate_of_a_key_is_the_one_that_its_line_has_now() -> None:
    keys = Keys([KEPT.model_copy(update={"rows_per_second": 0})])
    gate = gate_of(keys)
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {KEY}", "use")
    await gate.charge(rows=1_000)
    keys.replace([KEPT])
    await gate.charge(rows=10)
    with pytest.raises(RateLimited):
        await gate.charge(rows=1)


async def test_what_came_without_a_key_is_charged_nothing() -> None:
    gate = gate_of(Keys([]))
    for context in (None, RequestContext("a page, or work of our own")):
        enter(context)
        await gate.charge(rows=10**6, size=10**9)
