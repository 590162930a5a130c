"""A body is held by nobody but whoever parses it."""

from __future__ import annotations

import gc
import weakref

import pytest

from clipserve.application.body import Body
from clipserve.errors import InvalidInput


class Parsed:
    """What a weak reference can watch."""


@pytest.mark.parametrize("size", [10, 10_000])
async def test_what_was_refused_is_freed_before_the_error_is_caught(size: int) -> None:
    watched: list[weakref.ref[Parsed]] = []

    def refuse(body: Body) -> None:
        parsed = Parsed()
        watched.append(weakref.ref(parsed))
        raise InvalidInput(f"{len(body.take())} bytes")

    gc.disable()
    try:
        with pytest.raises(InvalidInput, match=f"^{size} bytes$"):
            await Body(bytes(size)).parsed(refuse)
        assert watched[0]() is None
    finally:
        gc.enable()


async def test_a_body_is_taken_once() -> None:
    body = Body(b"abc")
    assert await body.parsed(Body.take) == b"abc"
    assert (len(body), body.take()) == (0, b"")
