"""How much of something callers may have at once."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.errors import Overloaded
from clipserve.quota import Lease, Quota
from tests.support.waiting import settled


def most(quota: Quota, caller: str) -> int:
    """How much this caller can take, one by one."""
    taken = 0
    while True:
        try:
            quota.take(caller)
        except Overloaded:
            return taken
        taken += 1


@pytest.mark.parametrize(
    ("limit", "per_caller", "expected"),
    [
        pytest.param(10, None, [10, 0, 0], id="one may have all"),
        pytest.param(10, 5, [5, 5, 0], id="half stays for others"),
        pytest.param(10, 4, [4, 4, 2], id="all have the limit together"),
        pytest.param(10, 20, [10, 0, 0], id="no caller has more than there is"),
    ],
)
def test_nobody_gets_more_than_a_caller_s_share_and_all_no_more_than_the_limit(
    limit: int, per_caller: int | None, expected: list[int]
) -> None:
    quota = Quota("places", limit, per_caller)
    assert [most(quota, caller) for caller in "abc"] == expected
    for caller, amount in zip("abc", expected, strict=True):
        if amount:
            quota.give(caller, amount)
    assert (quota.used, quota.by_caller) == (0, {}), "who has nothing is forgotten"
    assert [most(quota, caller) for caller in "abc"] == expected


def test_a_refusal_says_what_was_asked_the_limit_and_what_to_do() -> None:
    quota = Quota("bytes of requests", 1_000, 600, retry_after=7)
    quota.take("a", 600)
    with pytest.raises(Overloaded) as own:
        quota.take("a", 1_500)
    quota.take("b", 400)
    with pytest.raises(Overloaded) as of_all:
        quota.take("c", 1)
    assert [error.value.detail for error in (own, of_all)] == [
        "you have 600 bytes of requests, and 1,500 more do not fit into the limit of one caller, 600. Try again "
        "when others have ended.",
        "there are 1,000 bytes of requests, and 1 more do not fit into the limit of all callers, 1,000. Try again "
        "when others have ended.",
    ]
    assert own.value.retry_after == 7


# A lease.


def take_and_fail(lease: Lease, size: int) -> None:
    lease.grow(size)
    raise ValueError("bad")


def test_a_lease_gives_back_what_it_has_and_nothing_that_it_was_refused() -> None:
    quota = Quota("bytes", 10)
    with quota.lease("other", 4):
        with pytest.raises(ValueError, match="bad"), quota.lease("a") as failed:
            take_and_fail(failed, 6)
        with pytest.raises(Overloaded), quota.lease("a", 3) as refused:
            refused.grow(4)
        assert quota.used == 4
        with quota.lease("a", 2) as lease:
            lease.grow(3)
            lease.shrink(4)
            assert (lease.size, quota.used) == (1, 5)
    assert (quota.used, quota.by_caller) == (0, {})


# Who waits.


class Waiters:
    """Who waits for a quota, and in which order they got it."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.got: list[str] = []

    async def add(self, caller: str, amount: int = 1, owner: str = "") -> asyncio.Task[None]:
        async def waited() -> None:
            await self.quota.wait(caller, amount, owner)
            self.got.append(caller + owner)

        task = asyncio.create_task(waited())
        await settled()
        return task


async def test_who_waits_has_its_turn_after_one_of_each_other_caller_and_request() -> None:
    waiters = Waiters(Quota("places", 1))
    waiters.quota.take("first")
    for caller, owner in ("a1", "a1", "a1", "a2", "b1", "c1"):
        await waiters.add(caller, owner=owner)
    assert (waiters.got, waiters.quota.waiting) == ([], 6)
    for holder in ("first", "a", "b", "c", "a", "a"):
        waiters.quota.give(holder)
        await settled()
    assert waiters.got == ["a1", "b1", "c1", "a2", "a1", "a1"]


async def test_what_does_not_fit_holds_up_what_is_behind_it() -> None:
    waiters = Waiters(Quota("bytes", 10))
    waiters.quota.take("a", 5)
    large, small = await waiters.add("b", 8), await waiters.add("c", 1)
    assert waiters.got == []
    waiters.quota.give("a", 5)
    await asyncio.gather(large, small)
    assert waiters.got == ["b", "c"]


async def test_who_has_its_share_holds_up_nobody_else() -> None:
    waiters = Waiters(Quota("bytes", 10, 4))
    waiters.quota.take("a", 4)
    await waiters.add("a", 2)
    await waiters.add("b", 4)
    assert waiters.got == ["b"]
    waiters.quota.give("a", 2)
    await settled()
    assert waiters.got == ["b", "a"]


@pytest.mark.parametrize("granted", [False, True], ids=["before its turn", "in the moment of its turn"])
async def test_who_leaves_takes_nothing_and_lets_those_behind_it_pass(granted: bool) -> None:
    waiters = Waiters(Quota("bytes", 10))
    waiters.quota.take("a", 5)
    large, small = await waiters.add("b", 8), await waiters.add("c", 5)
    if granted:
        waiters.quota.give("a", 5)
    large.cancel()
    await asyncio.wait_for(small, 60)
    assert waiters.got == ["c"]
    assert waiters.quota.by_caller == ({"c": 5} if granted else {"a": 5, "c": 5})


async def test_what_can_never_fit_is_refused_at_once() -> None:
    quota = Quota("bytes", 10, 6)
    with pytest.raises(Overloaded, match="7 more do not fit into the limit of one caller, 6"):
        await quota.wait("a", 7)
