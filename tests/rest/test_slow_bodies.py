"""Bodies that drip: the time for one is bounded, and so is the memory of all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx

from loadtests.fake_backend import FakeBackend
from tests.rest.raw import HEAD, exchange
from tests.support import DIM, eventually, png, serving


async def test_a_byte_a_second_is_a_408(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, body_timeout_seconds=0.3) as running:
        started = time.monotonic()
        said = await exchange(running, HEAD + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 8, pause=0.1)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in said
        assert time.monotonic() - started < 8
        assert (await running.embed(png())).status_code == 200


async def test_the_bodies_of_all_requests_share_one_budget(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_body_bytes=3_000, max_in_flight_bytes=3_000) as running:
        host, port = running.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD + b"Content-Length: 2999\r\n\r\n" + bytes(2_900))
        await writer.drain()

        def status() -> int:
            headers = {"content-type": "image/png"}
            return httpx.post(
                running.url + "/embed", content=bytes(500), headers=headers, timeout=20
            ).status_code

        await eventually(lambda: status() == 429)  # once the first body has arrived
        refused = await running.client.post(
            "/embed", content=bytes(500), headers={"content-type": "image/png"}
        )
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert "retry-after" in refused.headers
        writer.close()
        await eventually(lambda: status() == 415)  # once its client is seen to have left
