"""What the calls of health and of reflection have in common: small messages, and few calls at a time.

Health is open to everybody, and gRPC's own library takes a message up to the greatest size, whoever sends it,
before it says how large it is. So these calls have a few places for readings, of their own: what they may hold is
bounded, and Clip's calls wait for none of them. A small message comes with its headers, so that a reading while
others wait is soon given up. Turns are dealt to addresses: who has many connections waits for himself. All are
counted among the calls, and those of one method are a tenth of these at most: who watches keeps nobody out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage
from grpc.aio import EOF

from clipserve.errors import BodyTooLarge, Overloaded
from clipserve.rpc.call import Call
from clipserve.rpc.parsing import parsed
from clipserve.rpc.reading import ReadLimits, Reads

Message = TypeVar("Message", bound=ProtoMessage)

_MAX_BYTES = 1_024
_READINGS, _CROWDED_SECONDS = 2, 0.25
_SHARE, _SHARE_OF_ADDRESS = 10, 40  # one call of so many may be of one method; and of one address besides


@dataclass(frozen=True)
class SmallLimits:
    """See the settings of the same names."""

    grpc_max_calls: int
    body_timeout_seconds: float


class SmallCalls:
    """All calls of these kinds."""

    def __init__(self, limits: SmallLimits) -> None:
        self._reads = Reads(ReadLimits(_READINGS, limits.body_timeout_seconds, _CROWDED_SECONDS))
        self._limit = max(1, limits.grpc_max_calls // _SHARE)
        self._limit_per_address = max(1, limits.grpc_max_calls // _SHARE_OF_ADDRESS)
        self._open: Counter[tuple[str, ...]] = Counter()

    @contextmanager
    def place(self, call: Call) -> Iterator[None]:
        """One of the places for calls of this method, until the block ends.

        Raises:
            Overloaded: there is none, or the address has its share.
        """
        of_all, of_address = (call.method,), (call.method, call.address)
        for whose, limit, from_where in (
            (of_all, self._limit, ""),
            (of_address, self._limit_per_address, " from your address"),
        ):
            if self._open[whose] >= limit:
                raise Overloaded(
                    f"{limit:,} calls of {call.method}{from_where} are open; that is the limit. Try again when "
                    "one has ended.",
                    retry_after=1,
                )
        self._open.update((of_all, of_address))
        try:
            yield
        finally:
            self._open.subtract((of_all, of_address))
            self._open = +self._open  # without those that are zero

    async def read(self, call: Call, kind: type[Message]) -> Message | None:
        """The next message; None: there are no more.

        Raises:
            BodyTooLarge, BodyTooSlow, MalformedRequest, Overloaded: see `clipserve.errors`.
        """
        data = await self._reads.read(call.address, call.context.read)
        if data is EOF:
            return None
        if (size := len(data)) > _MAX_BYTES:
            del data  # the error's traceback would keep it
            raise BodyTooLarge(
                f"the message has {size:,} bytes; the limit of {call.method} is {_MAX_BYTES:,}. Send fewer.",
                limit=_MAX_BYTES,
                actual=size,
            )
        return parsed(kind, data)
