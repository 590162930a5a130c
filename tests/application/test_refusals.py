"""Who is refused in a loop while others ask gets its refusals at a bounded rate."""

from __future__ import annotations

from clipserve.application.refusals import Refusals
from tests.virtual_time import HandClock


def test_a_caller_alone_gets_each_refusal_at_once() -> None:
    refusals = Refusals(HandClock(1_000.0))
    for _ in range(10_000):
        refusals.asked("one")
        assert refusals.seconds("one") == 0


def test_beside_another_a_caller_gets_a_few_at_once_and_the_rest_at_a_rate() -> None:
    clock = HandClock(1_000.0)
    refusals = Refusals(clock)
    refusals.asked("other")
    refusals.asked("one")
    held = [refusals.seconds("one") for _ in range(1_000)]
    assert held[:20] == [0.0] * 20
    assert 0 < held[25] < held[50] < held[100] < 1
    assert max(held) <= 2
    assert refusals.seconds("other") == 0
    clock.now += 3
    assert refusals.seconds("one") == 0


def test_callers_that_have_gone_are_forgotten_also_if_nobody_is_refused() -> None:
    clock = HandClock(1_000.0)
    refusals = Refusals(clock)
    for number in range(100):
        refusals.asked(f"{number}")
    assert refusals.present == 100
    clock.now += 11
    refusals.asked("one")
    assert refusals.present == 1


def test_a_caller_that_has_not_asked_for_a_while_is_gone() -> None:
    clock = HandClock(1_000.0)
    refusals = Refusals(clock)
    refusals.asked("other")
    clock.now += 11
    refusals.asked("one")
    assert {refusals.seconds("one") for _ in range(100)} == {0}
