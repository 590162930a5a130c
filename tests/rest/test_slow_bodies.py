"""Bodies that drip: the time for one is bounded, and so is the memory of all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from service.engine.fake import FakeBackend
from tests.rest.test_bad_inputs import HEAD, exchange
from tests.support import DIM, png, serving


async def test_a_byte_a_second_is_a_408(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, body_timeout_seconds=0.3) as running:
        started = time.monotonic()
        said = await exchange(running, HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 8, pause=0.1)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in said
        assert time.monotonic() - started < 2
        assert (await running.embed(png())).status_code == 200


async def test_the_bodies_of_all_requests_share_one_budget(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_in_flight_bytes=3_000) as running:
        host, port = running.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD + b"Content-Length: 2999\r\n\r\n" + bytes(2_900))
        await writer.drain()
        await asyncio.sleep(0.05)
        refused = await running.client.post(
            "/embed", content=bytes(500), headers={"content-type": "image/png"}
        )
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert "retry-after" in refused.headers
        writer.close()
        await asyncio.sleep(0.05)
        after = await running.client.post("/embed", content=bytes(500), headers={"content-type": "image/png"})
        assert after.status_code == 415
