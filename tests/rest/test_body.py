"""The body of a request, read from messages as the server gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message

from clipserve.errors import BodyTooLarge, BodyTooSlow, InvalidInput
from clipserve.quota import Lease, Quota
from clipserve.rest.body import BodyLimits, ClientGone, announced_size, read_body
from tests.support.virtual_time import virtual_time


class Client:
    """Sends its messages one by one, then nothing more; `read`: how many were taken."""

    def __init__(self, *messages: Message) -> None:
        self.messages = messages
        self.read = 0

    async def receive(self) -> Message:
        if self.read == len(self.messages):
            await asyncio.Event().wait()
        self.read += 1
        return self.messages[self.read - 1]


def sends(*chunks: bytes) -> Client:
    """A whole body in these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks[:-1]]
    return Client(*messages, {"type": "http.request", "body": chunks[-1], "more_body": False})


async def read(
    client: Client,
    headers: dict[bytes, bytes] | None = None,
    *,
    limit: int = 10,
    seconds: float = 20,
    lease: Lease | None = None,
) -> bytes:
    with Quota("bytes", 1_000, 1_000).lease("client") as own:
        limits = BodyLimits(limit, seconds, 20)
        announced_size(headers or {}, limits)
        return (await read_body(headers or {}, client.receive, limits, lease or own)).take()


@pytest.mark.parametrize("chunks", [[b""], [b"a"], [b"ab", b"", b"c"], [b"", b"a", b""]])
async def test_the_chunks_are_one_body(chunks: Sequence[bytes]) -> None:
    assert await read(sends(*chunks)) == b"".join(chunks)


async def test_a_declared_length_at_the_limit_is_read_and_one_beyond_is_refused_unread() -> None:
    assert await read(sends(bytes(10)), {b"content-length": b"10"}) == bytes(10)
    client = sends(bytes(11))
    with pytest.raises(BodyTooLarge, match="11 bytes or more; the limit is 10") as caught:
        await read(client, {b"content-length": b"11"})
    assert (caught.value.limit, caught.value.actual) == (10, 11)
    assert client.read == 0


async def test_a_body_in_chunks_may_reach_the_limit_and_is_refused_with_the_first_byte_beyond() -> None:
    assert await read(sends(bytes(6), bytes(4))) == bytes(10)
    client = sends(bytes(6), bytes(5), bytes(100))
    with pytest.raises(BodyTooLarge) as caught:
        await read(client)
    assert (caught.value.limit, caught.value.actual) == (10, 11)
    assert client.read == 2, "read on beyond the limit"


@pytest.mark.parametrize("encoding", [b"gzip", b"", b"identity, gzip"])
async def test_a_compressed_body_is_refused_unread(encoding: bytes) -> None:
    assert await read(sends(b"abc"), {b"content-encoding": b"Identity"}) == b"abc"
    client = sends(b"abc")
    with pytest.raises(InvalidInput, match="Content-Encoding is not accepted"):
        await read(client, {b"content-encoding": encoding})
    assert client.read == 0


async def test_a_client_who_leaves_in_the_middle_is_gone() -> None:
    first = {"type": "http.request", "body": b"a", "more_body": True}
    with pytest.raises(ClientGone):
        await read(Client(first, {"type": "http.disconnect"}))


@virtual_time
async def test_a_body_that_does_not_end_in_time_is_refused_with_what_has_come() -> None:
    first = {"type": "http.request", "body": bytes(7), "more_body": True}
    with pytest.raises(BodyTooSlow, match=r"7 bytes of the body arrived within 0\.05 s") as caught:
        await read(Client(first), seconds=0.05)
    assert (caught.value.limit, caught.value.actual) == (0.05, None)


class Dripping:
    """Sends so many bytes at once, then `size` bytes each 20 ms, and never the end."""

    def __init__(self, first: int, size: int) -> None:
        self._next = first
        self._size = size

    async def receive(self) -> Message:
        await asyncio.sleep(0.02)
        body, self._next = bytes(self._next), self._size
        return {"type": "http.request", "body": body, "more_body": True}


@pytest.mark.parametrize(
    ("first", "size", "seconds", "limit", "said", "within"),
    [
        pytest.param(1, 1, 30, 1_000, "at 1,000 bytes a second", 0.2, id="too slow"),
        pytest.param(1_000_000, 0, 30, 1_000, "no pause of 0.3 s", 0.4, id="fast, and its end is withheld"),
        pytest.param(0, 1_000, 150, 150, "arrived within 150 s", 151, id="at the rate, for all its time"),
    ],
)
@virtual_time
async def test_a_body_that_comes_below_the_rate_is_refused_before_its_time_is_over(
    first: int, size: int, seconds: float, limit: float, said: str, within: float
) -> None:
    limits = BodyLimits(10_000_000, seconds, 20, 1_000, grace_seconds=0.1, longest_pause_seconds=0.3)
    with Quota("bytes", 10_000_000, 10_000_000).lease("client") as lease:
        async with asyncio.timeout(within):
            with pytest.raises(BodyTooSlow) as caught:
                await read_body({}, Dripping(first, size).receive, limits, lease)
    assert (caught.value.limit, said in caught.value.detail) == (limit, True)
