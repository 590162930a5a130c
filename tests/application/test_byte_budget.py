"""One budget of bytes for all requests in flight."""

from __future__ import annotations

import pytest

from service.application.byte_budget import ByteBudget, Lease
from service.errors import Overloaded


def test_a_request_may_take_all_that_is_left_and_not_one_byte_more() -> None:
    budget = ByteBudget(1_000)
    with budget.lease() as other, budget.lease() as own:
        other.grow(400)
        own.grow(600)
        with pytest.raises(Overloaded) as caught:
            own.grow(1)
        assert caught.value.retry_after == 1
        assert caught.value.detail.startswith(
            "the requests in flight hold 1,000 bytes, and 1 more do not fit into the limit of 1,000."
        )


def test_a_lease_remembers_what_it_has_taken_and_not_what_it_was_refused() -> None:
    with ByteBudget(10).lease() as lease:
        assert lease.size == 0
        lease.grow(4)
        lease.grow(5)
        with pytest.raises(Overloaded):
            lease.grow(2)
        assert lease.size == 9


def test_the_bytes_of_a_request_that_has_ended_are_free_again() -> None:
    budget = ByteBudget(10)
    for _ in range(3):
        with budget.lease() as lease:
            lease.grow(10)


def take_and_fail(lease: Lease, size: int) -> None:
    lease.grow(size)
    raise ValueError("bad")


def test_the_bytes_of_a_request_that_has_failed_are_free_again() -> None:
    budget = ByteBudget(10)
    with pytest.raises(ValueError, match="bad"), budget.lease() as lease:
        take_and_fail(lease, 7)
    with budget.lease() as lease:
        lease.grow(10)


def test_a_request_that_was_refused_gives_back_no_more_than_it_had() -> None:
    budget = ByteBudget(10)
    with budget.lease() as other:
        other.grow(6)
        with pytest.raises(Overloaded), budget.lease() as refused:
            refused.grow(5)
        with budget.lease() as lease:
            lease.grow(4)
            with pytest.raises(Overloaded):
                lease.grow(1)
