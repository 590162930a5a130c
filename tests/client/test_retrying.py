"""When a service is asked again, and how long a client waits at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from clipserve.client.errors import Refused, Unreachable
from clipserve.client.http import Answer, retry_after
from clipserve.client.remote import AsyncClient
from clipserve.client.retrying import Retrying
from tests.commands.hostile import EMBEDDED, Parts, body, head, serving
from tests.virtual_time import virtual_time

SECONDS = 60.0  # to notice a hang


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": "3"}) == 3
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": later}) == pytest.approx(30, abs=10)
    assert retry_after({"retry-after": "-1"}) == 0
    assert retry_after({"retry-after": "1e9"}) == 600


@pytest.mark.parametrize("header", ["", "soon", "nan", "12 seconds", f"Mon, 01 Jan {9**30} 00:00:00 GMT"])
def test_what_cannot_be_read_counts_as_nothing(header: str) -> None:
    assert retry_after({"retry-after": header} if header else {}) is None


class Server:
    """Answers with these values of Retry-After, then well."""

    def __init__(self, *refusals: str) -> None:
        self.left = list(refusals)
        self.times: list[float] = []

    @property
    def asked(self) -> int:
        return len(self.times)

    async def ask(self) -> Answer:
        self.times.append(time.monotonic())
        if not self.left:
            return Answer("http://server", 200, httpx2.Headers(), b"{}")
        headers = httpx2.Headers({"retry-after": self.left.pop(0)})
        return Answer("http://server", 429, headers, b'{"code": "rate_limited", "detail": "used up."}')


@virtual_time
async def test_what_one_request_is_told_to_wait_is_waited_by_all() -> None:
    server, retrying = Server("30"), Retrying(60, in_flight=1)
    await asyncio.gather(*(retrying(server.ask) for _ in range(3)))
    first, *others = server.times
    assert len(others) == 3
    assert all(30 <= each - first < 60 for each in others)


@virtual_time
@pytest.mark.parametrize("seconds", [0.0, 30.0])
async def test_a_wait_that_a_request_does_not_make_delays_no_other(seconds: float) -> None:
    server, retrying = Server("600"), Retrying(seconds, in_flight=1)
    began = time.monotonic()
    with pytest.raises(Refused):
        await retrying(server.ask)
    assert (await retrying(server.ask)).status == 200
    assert time.monotonic() - began < 60


@virtual_time
async def test_a_request_that_is_refused_without_a_wait_is_not_repeated_at_once() -> None:
    server, retrying = Server(*["0"] * 100_000), Retrying(1.5, in_flight=1)
    with pytest.raises(Refused):
        await retrying(server.ask)
    assert 2 <= server.asked <= 4


def slowly(*parts: bytes) -> Iterator[bytes]:
    """For three seconds, a part at a time, and then a whole answer."""
    for part in parts * (60 // len(parts)):
        yield part
        time.sleep(0.05)


def dripping_head() -> Parts:
    yield b"HTTP/1.1 200 X\r\nX-Slow: "
    yield from slowly(b"a")
    yield b"\r\n"
    yield from (part.partition(b"\r\n")[2] for part in body(EMBEDDED))


def early_hints() -> Parts:
    yield from slowly(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    yield from body(EMBEDDED)


def dripping_body() -> Parts:
    yield head("Transfer-Encoding: chunked")
    yield from slowly(b"1\r\n \r\n")
    content = b'{"fingerprint":"toy@1","results":[{"embedding":"AACAPwAAAAA="}]}'
    yield b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)


@pytest.mark.parametrize("answer", [dripping_head, early_hints, dripping_body])
async def test_a_try_is_over_after_its_time_however_the_server_spends_it(answer: object) -> None:
    assert callable(answer)
    with serving(lambda _: answer()) as (url, _):
        async with AsyncClient(url, timeout=0.3, retry_seconds=0) as client:
            with pytest.raises(Unreachable, match=r"does not answer within 0\.3 s"):
                await client.embed_text("a", truncate=False)


async def test_a_slow_answer_within_the_time_is_taken() -> None:
    with serving(lambda _: dripping_head()) as (url, _):
        async with AsyncClient(url, timeout=SECONDS, retry_seconds=0) as client:
            assert (await client.embed_text("a", truncate=False)).fingerprint == "toy@1"
