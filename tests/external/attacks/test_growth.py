"""Floods at two sizes: what they cost grows with their bytes, and not with the square of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

import pytest

from tests.abuse.answers import RpcAnswers, http_answers
from tests.abuse.attack import GET, Act, Piece, form, part, request
from tests.abuse.attacks.rpc import REPEATED, flood
from tests.abuse.victim import Victim, address_of
from tests.abuse.wire import play

_MORE = 4  # times as much
_MOST = 8.0  # times the cost: half way, in powers, between 4 and the 16 of a square
_MOMENT = 0.5  # seconds of CPU, which are no harm


def _puts(count: int) -> Iterable[Piece]:
    for number in range(count):
        yield request(f"/label-sets/{count}-{number}", b'{"labels": ["a", "b"]}', method="PUT")
        yield Act.AWAIT


def _many(make: Callable[[int], bytes]) -> Callable[[int], Iterable[Piece]]:
    return lambda count: [make(count)]


RPC = {name: (partial(flood, *frames), 100_000) for name, frames in REPEATED.items()}
# What is sent of a number of something, and the smaller number.
HTTP: dict[str, tuple[Callable[[int], Iterable[Piece]], int]] = {
    "label sets": (_puts, 100),
    "requests": (_many(lambda count: GET * count), 400),  # as many as are kept behind one
    "empty lines": (_many(lambda count: request("/bulk", b"\n" * count, "application/x-ndjson")), 100_000),
    "lines of nothing": (
        _many(lambda count: request("/bulk", b"{}\n" * count, "application/x-ndjson")),
        2_000,
    ),
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


@pytest.mark.parametrize("name", [*RPC, *HTTP])
def test_a_flood_costs_time_by_its_bytes(victim: Victim, name: str) -> None:
    make, count = (RPC | HTTP)[name]
    address, take = (
        address_of(victim.process, name in RPC),
        RpcAnswers if name in RPC else lambda: http_answers,
    )

    def seconds(count: int) -> float:
        """Of CPU, until all is read and there is no more to do: only then the client leaves."""
        pieces = chain(make(count), victim.until_rest())
        return victim.cost(lambda: play(address, pieces, 0, 100, take=take())).cpu

    few, many = seconds(count), seconds(_MORE * count)
    print(f"{few:.3f} s of CPU, and {many:.3f} s of {_MORE} times as much")
    assert many < max(_MOST * few, _MOMENT)
