"""The body of a request: read whole, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive

from service.application.byte_budget import Lease
from service.errors import BodyTooLarge, BodyTooSlow, InvalidInput
from service.rest.lifeline import ClientGone


@dataclass(frozen=True)
class BodyLimits:
    """Bytes and seconds; see the settings of the same names."""

    max_body_bytes: int
    body_timeout_seconds: float


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, limits: BodyLimits, lease: Lease
) -> bytes:
    """All bytes of the body. `headers` have names in lower case.

    Raises:
        BodyTooLarge, BodyTooSlow: over a limit; as soon as it is known.
        InvalidInput: it is compressed.
        Overloaded: the budget that `lease` is part of has no room.
        ClientGone: the client left in the middle.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit():
        _check_size(int(announced), limits)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise InvalidInput("Content-Encoding is not accepted: send the body as it is.")
    chunks: list[bytes] = []
    seconds = limits.body_timeout_seconds
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                _check_size(lease.size + len(chunk), limits)
                lease.grow(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        raise BodyTooSlow(
            f"{lease.size:,} bytes of the body arrived within {seconds:g} s, and not its end.", limit=seconds
        ) from None


def _check_size(size: int, limits: BodyLimits) -> None:
    limit = limits.max_body_bytes
    if size > limit:
        raise BodyTooLarge(
            f"the body has {size:,} bytes or more; the limit is {limit:,}.", limit=limit, actual=size
        )
