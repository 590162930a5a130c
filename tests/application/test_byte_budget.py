"""One budget of bytes for all requests in flight."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.application.byte_budget import ByteBudget, Lease
from clipserve.errors import Overloaded
from clipserve.http1.connections import address_of
from tests.virtual_time import virtual_time


def test_a_request_may_take_all_that_is_left_and_not_one_byte_more() -> None:
    budget = ByteBudget(1_000, 1_000)
    with budget.lease("client") as other, budget.lease("client") as own:
        other.grow(400)
        own.grow(600)
        with pytest.raises(Overloaded) as caught:
            own.grow(1)
        assert caught.value.retry_after == 1
        assert caught.value.detail.startswith(
            "the requests in flight hold 1,000 bytes, and 1 more do not fit into the limit of 1,000."
        )


def test_a_lease_remembers_what_it_has_taken_and_not_what_it_was_refused() -> None:
    with ByteBudget(10, 10).lease("client") as lease:
        assert lease.size == 0
        lease.grow(4)
        lease.grow(5)
        with pytest.raises(Overloaded):
            lease.grow(2)
        assert lease.size == 9


def take_and_fail(lease: Lease, size: int) -> None:
    lease.grow(size)
    raise ValueError("bad")


def test_the_bytes_of_a_request_that_has_failed_are_free_again() -> None:
    budget = ByteBudget(10, 10)
    with pytest.raises(ValueError, match="bad"), budget.lease("client") as lease:
        take_and_fail(lease, 7)
    with budget.lease("client") as lease:
        lease.grow(10)


def test_a_request_that_was_refused_gives_back_no_more_than_it_had() -> None:
    budget = ByteBudget(10, 10)
    with budget.lease("client") as other:
        other.grow(6)
        with pytest.raises(Overloaded), budget.lease("client") as refused:
            refused.grow(5)
        with budget.lease("client") as lease:
            lease.grow(4)
            with pytest.raises(Overloaded):
                lease.grow(1)


def test_an_address_may_take_its_share_and_leaves_the_rest_to_others() -> None:
    budget = ByteBudget(10, 6)
    with budget.lease("slow") as one, budget.lease("slow") as two, budget.lease("other") as other:
        one.grow(4)
        two.grow(2)
        with pytest.raises(Overloaded, match=r"from your address hold 6 bytes, .* the limit of 6\."):
            two.grow(1)
        other.grow(4)
        with pytest.raises(Overloaded, match=r"the requests in flight hold 10 bytes, .* the limit of 10\."):
            other.grow(1)
    with budget.lease("slow") as lease:
        lease.grow(6)


def test_an_address_without_requests_is_forgotten() -> None:
    budget = ByteBudget(10, 10)
    with budget.lease("client") as lease:
        lease.grow(1)
    with budget.lease("idle"):
        pass
    assert not budget.by_address


@virtual_time
async def test_a_reader_that_can_wait_takes_its_bytes_when_others_have_given_theirs_back() -> None:
    budget = ByteBudget(10, 10)
    with budget.lease("client") as own:
        with budget.lease("other") as other:
            other.grow(5)
            waiting = asyncio.create_task(own.wait_for_room(6))
            await asyncio.sleep(0.2)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 10)
        assert own.size == 6


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_address_stands_for_the_network_of_one_customer(host: str, address: str) -> None:
    assert address_of(host) == address
