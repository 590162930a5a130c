"""Reads the whole body of a request, with limits of bytes, of time and of its minimum rate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Message, Receive

from clipserve.application.body import Body
from clipserve.connections import MIN_BODY_BYTES_PER_SECOND
from clipserve.errors import BodyTooLarge, BodyTooSlow, InvalidInput, check_limit
from clipserve.quota import Lease

_TOO_LARGE = "the body has {:,} bytes or more"


class ClientGone(Exception):
    """The client closed its connection; no answer is sent."""


@dataclass(frozen=True)
class BodyLimits:
    """The limits of a body, and of the time from its last byte to the answer (`deadline_seconds`)."""

    max_body_bytes: int
    body_timeout_seconds: float
    deadline_seconds: float
    min_body_bytes_per_second: int = MIN_BODY_BYTES_PER_SECOND
    grace_seconds: float = 2.0  # until the rate counts
    longest_pause_seconds: float = 5.0  # that bytes can buy: a lost packet is sent again after three


def announced_size(headers: Mapping[bytes, bytes], limits: BodyLimits) -> int:
    """The bytes of the body by its headers; 0: there is no body, or its size is unknown.

    Raises:
        BodyTooLarge: they are more than the limit.
    """
    size = int(
        headers.get(b"content-length", b"0")[-20:]
    )  # digits, of less than 2^64: the parser has seen to it
    check_limit(BodyTooLarge, _TOO_LARGE, size, limits.max_body_bytes)
    return size


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, limits: BodyLimits, lease: Lease
) -> Body:
    """Read the whole body. The names in `headers` are in lower case; `announced_size` has checked its size.

    The first message must come at once, with what has arrived with the headers, if anything: so most bodies need no
    timer.

    Raises:
        BodyTooLarge, BodyTooSlow: a limit is exceeded; raised as soon as that is known.
        InvalidInput: the body is compressed.
        Overloaded: the budget of `lease` has no room.
        ClientGone: the client left before the end.
    """
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise InvalidInput("Content-Encoding is not accepted: send the body as it is.")
    message = await receive()
    first = _chunk(message, limits, lease)
    if not message.get("more_body"):
        return Body(first)
    # One growing block: pieces of several bodies that lie between each other would leave holes in the heap.
    data = bytearray(first)
    await _read_rest(data, receive, limits, lease)
    return Body(bytes(data))


async def _read_rest(data: bytearray, receive: Receive, limits: BodyLimits, lease: Lease) -> None:
    """Each byte extends the deadline by 1 / minimum rate, up to the longest pause.

    So a body whose last byte is withheld is given up as soon as one that has hardly begun.
    """
    loop = asyncio.get_running_loop()
    rate, pause = limits.min_body_bytes_per_second, limits.longest_pause_seconds
    seconds = limits.body_timeout_seconds
    began, size = loop.time(), len(data)
    until, end = began + limits.grace_seconds, began + seconds
    try:
        async with asyncio.timeout(None) as timer:
            while True:
                until = min(until + size / rate, loop.time() + pause, end)
                timer.reschedule(until)
                message = await receive()
                chunk = _chunk(message, limits, lease)
                data += chunk
                size = len(chunk)
                if not message.get("more_body"):
                    return
    except TimeoutError:
        came = (
            f"{lease.size:,} bytes of the body arrived within {round(until - began, 2):g} s, and not its end"
        )
        must = f"all must come in {seconds:g} s, at {rate:,} bytes a second, with no pause of {pause:g} s"
        raise BodyTooSlow(f"{came}; {must}.", limit=seconds if until == end else rate) from None


def _chunk(message: Message, limits: BodyLimits, lease: Lease) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    chunk: bytes = message.get("body", b"")
    if size := len(chunk):
        check_limit(BodyTooLarge, _TOO_LARGE, lease.size + size, limits.max_body_bytes)
        lease.grow(size)
    return chunk
