"""When a service is asked again, and how long a client waits at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate

import httpx2
import pytest

from clipserve.api.answers import Answer
from clipserve.client.errors import Refused, Unreachable
from clipserve.client.http import Connection
from clipserve.client.remote import AsyncClient
from tests.commands.hostile import EMBEDDED, Parts, body, head, serving
from tests.support.virtual_time import virtual_time

SECONDS = 60.0  # to notice a hang


class Server(httpx2.MockTransport):
    """Answers with these values of Retry-After, then well."""

    def __init__(self, *refusals: str) -> None:
        super().__init__(self.answer)
        self.left = list(refusals)
        self.times: list[float] = []

    def answer(self, _: httpx2.Request) -> httpx2.Response:
        self.times.append(time.monotonic())
        if not self.left:
            return httpx2.Response(200, content=b"{}")
        said = {"code": "rate_limited", "detail": "used up."}
        return httpx2.Response(429, headers={"retry-after": self.left.pop(0)}, json=said)

    def connection(self, retry_seconds: float) -> Connection:
        return Connection("http://server", retry_seconds=retry_seconds, transport=self)


@pytest.mark.parametrize("asked", ["30", "30.5", "a date"])
@virtual_time
async def test_a_request_that_waits_keeps_its_place(asked: str) -> None:
    server = Server(formatdate(time.time() + 10**6, usegmt=True) if asked == "a date" else asked)
    async with server.connection(2 * 10**6) as connection:
        await asyncio.gather(*(connection.ask("GET", "/", Answer) for _ in range(3)))
    first, *others = server.times
    assert len(others) == 3
    least = 30 if asked.startswith("30") else 10**6 - 3_600  # of the date, when the test runs
    assert all(least <= each - first < 2 * least for each in others)


@virtual_time
async def test_a_request_that_is_refused_without_a_wait_is_not_repeated_at_once() -> None:
    server = Server(*["0"] * 100_000)
    async with server.connection(1.5) as connection:
        with pytest.raises(Refused):
            await connection.ask("GET", "/", Answer)
    assert 2 <= len(server.times) <= 4


def dripping() -> Parts:
    """A byte at a time, for three seconds."""

    def slowly() -> Iterator[bytes]:
        for _ in range(60):
            yield b"1\r\n \r\n"
            time.sleep(0.05)

    yield head("Transfer-Encoding: chunked")
    yield from slowly()
    (whole,) = body(EMBEDDED)
    content = whole.partition(b"\r\n\r\n")[2]
    yield b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)


@pytest.mark.parametrize(("seconds", "ends"), [(0.3, False), (SECONDS, True)])
async def test_a_try_is_over_after_its_time_however_the_server_spends_it(seconds: float, ends: bool) -> None:
    with serving(lambda _: dripping()) as (url, _):
        async with AsyncClient(url, timeout=seconds, retry_seconds=0) as client:
            if ends:
                assert (await client.embed_text("a", truncate=False)).fingerprint == "toy@1"
                return
            with pytest.raises(Unreachable, match=r"does not answer within 0\.3 s"):
                await client.embed_text("a", truncate=False)
