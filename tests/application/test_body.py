"""A body is held by nobody but whoever parses it."""

from __future__ import annotations

from clipserve.application.body import Body


async def test_a_body_is_taken_once() -> None:
    body = Body(b"abc")
    assert await body.parsed(Body.take) == b"abc"
    assert (len(body), body.take()) == (0, b"")
