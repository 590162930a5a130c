"""The order among callers, and among the requests of each."""

from __future__ import annotations

import pytest

from clipserve.turns import Turns


def order(turns: Turns[str]) -> list[str]:
    return [turns.pop() for _ in range(len(turns))]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param(["a1", "a2", "a3", "b1"], "a1 b1 a2 a3", id="one with many delays another by one"),
        pytest.param(["a1", "a2", "b1", "b2", "c1"], "a1 b1 c1 a2 b2", id="each in turn"),
        pytest.param(["a1", "a2", "a3"], "a1 a2 a3", id="of one owner: as they came"),
        pytest.param(["a1", "a1'", 'a1"', "a2", "b1"], "a1 b1 a2 a1' a1\"", id="requests take turns, too"),
    ],
)
def test_callers_take_turns_and_so_do_their_requests(items: list[str], expected: str) -> None:
    turns = Turns[str]()
    for item in items:
        turns.put(item, item[0], item[1] if "'" in "".join(items) else None)
    assert order(turns) == expected.split()
    assert not turns


def test_who_comes_while_others_are_served_has_its_turn_after_those_who_wait() -> None:
    turns = Turns[str]()
    for item in ("a1", "a2", "b1", "b2"):
        turns.put(item, item[0])
    assert turns.pop() == "a1"
    turns.put("c1", "c")
    assert order(turns) == ["b1", "a2", "c1", "b2"]


def test_a_caller_may_be_passed_over_and_keeps_its_turn() -> None:
    turns = Turns[str]()
    for item in ("a1", "b1", "b2"):
        turns.put(item, item[0])
    assert (turns.first(), turns.first("b"), turns.pop("b")) == ("a1", "b1", "b1")
    assert order(turns) == ["a1", "b2"]


def test_what_is_discarded_is_gone_and_the_order_of_the_others_stays() -> None:
    turns = Turns[str]()
    for item in ("a1", "a2", "b1"):
        turns.put(item, item[0])
    turns.discard("a1", "a")
    turns.discard("a1", "a")
    turns.discard("x", "nobody")
    assert len(turns) == 2
    assert order(turns) == ["a2", "b1"]


def test_there_is_no_first_of_nothing() -> None:
    with pytest.raises(KeyError):
        Turns[str]().pop()
