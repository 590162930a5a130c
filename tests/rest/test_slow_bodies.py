"""Bodies that drip: the time for one is bounded, and so is the memory of all."""

from __future__ import annotations

import time
from pathlib import Path

from loadtests.fake_backend import FakeBackend
from tests.rest.raw import HEAD, exchange
from tests.support import DIM, png, serving


async def test_a_byte_a_second_is_a_408(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, body_timeout_seconds=0.3) as running:
        started = time.monotonic()
        said = await exchange(running, HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 8, pause=0.1)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in said
        assert time.monotonic() - started < 8
        assert (await running.embed(png())).status_code == 200
