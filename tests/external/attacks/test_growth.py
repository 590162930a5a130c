"""Large floods: what they cost, until there is no more to do, grows with their bytes, not with the square."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

import pytest

from tests.abuse.answers import RpcAnswers, http_answers
from tests.abuse.attack import GET, Act, Piece, form, part, request
from tests.abuse.attacks.rpc import REPEATED, flood
from tests.abuse.victim import Victim, address_of
from tests.abuse.wire import play

_MORE = 4  # times as much
_MOST = 8.0  # times the cost: half way, in powers, between 4 and the 16 of a square
_MOMENT = 1.0  # seconds of CPU, ten times what the floods of frames take


def _puts(count: int) -> Iterable[Piece]:
    for number in range(count):
        yield request(f"/label-sets/{count}-{number}", b'{"labels": ["a", "b"]}', method="PUT")
        yield Act.AWAIT


def _many(make: Callable[[int], bytes]) -> Callable[[int], Iterable[Piece]]:
    return lambda count: [make(count)]


# What is sent of a number of something, and the smaller number.
FLOODS: dict[str, tuple[Callable[[int], Iterable[Piece]], int]] = {
    "label sets": (_puts, 100),
    "requests": (_many(lambda count: GET * count), 400),  # as many as are kept behind one
    "parts": (_many(lambda count: form("/embed", [part("texts", b"a")] * count)), 1_000),
    "line ends in a part": (
        _many(lambda count: form("/embed", [part("texts", b"\r\n--" * count)])),
        1_000_000,
    ),
    "values": (_many(lambda count: request("/embed", b'{"texts": [' + b"0," * count + b"0]}")), 2_000_000),
    "brackets in a text": (
        _many(lambda count: request("/embed", b'{"texts": ["' + b"[{," * count + b'"]}')),
        1_500_000,
    ),
}


def _seconds(victim: Victim, sent: Iterable[Piece], rpc: bool) -> float:
    """Of CPU, until all is read and there is no more to do: only then the client leaves."""
    take = RpcAnswers() if rpc else http_answers
    pieces = chain(sent, victim.until_rest())
    return victim.cost_alone(lambda: play(address_of(victim.process, rpc), pieces, 0, 100, take=take)).cpu


@pytest.mark.parametrize("name", REPEATED)
def test_a_flood_of_frames_takes_a_moment(victim: Victim, name: str) -> None:
    assert _seconds(victim, flood(*REPEATED[name], 400_000), rpc=True) < _MOMENT


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_costs_time_by_its_bytes(victim: Victim, name: str) -> None:
    make, count = FLOODS[name]
    seen = []
    for _ in range(3):  # other work beside it makes the same work cost more
        few, many = (_seconds(victim, make(times * count), rpc=False) for times in (1, _MORE))
        if many < max(_MOST * few, _MOMENT):
            return
        seen.append(f"{few:.3f} s of CPU, and {many:.3f} s of {_MORE} times as much")
    raise AssertionError(seen)
