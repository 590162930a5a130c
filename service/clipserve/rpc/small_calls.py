"""What the calls of health and of reflection have in common: small messages, and few calls at a time.

Health is open to everybody, and gRPC's own library takes a message up to the greatest size, whoever sends it,
before it says how large it is. So these calls have a few places for readings, of their own: what they may hold is
bounded, and Clip's calls wait for none of them. A small message comes with its headers, so that a reading while
others wait is soon given up. Turns are dealt to addresses: who has many connections waits for himself. All are
counted among the calls, and those of one method are a tenth of these at most: who watches keeps nobody out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage
from grpc.aio import EOF

from clipserve.application.stream import Places
from clipserve.errors import BodyTooLarge
from clipserve.rpc.call import Call
from clipserve.rpc.options import CallLimits
from clipserve.rpc.parsing import parsed
from clipserve.rpc.reading import ReadLimits, Reads

Message = TypeVar("Message", bound=ProtoMessage)

_MAX_BYTES = 1_024
_READINGS, _CROWDED_SECONDS = 2, 0.25
_SHARE, _SHARE_OF_ADDRESS = 10, 40  # one call of so many may be of one method; and of one address besides


class SmallCalls:
    """All calls of these kinds."""

    def __init__(self, limits: CallLimits) -> None:
        """`limits`: of all calls, of which these are a part."""
        self._reads = Reads(ReadLimits(_READINGS, limits.body_timeout_seconds, _CROWDED_SECONDS))
        self._limits = tuple(max(1, limits.grpc_max_calls // share) for share in (_SHARE, _SHARE_OF_ADDRESS))
        self._places: dict[str, Places] = {}

    def place(self, call: Call) -> AbstractContextManager[None]:
        """One of the places for calls of this method, until the block ends. See `Places.taken`."""
        if call.method not in self._places:
            self._places[call.method] = Places(f"calls of {call.method}", *self._limits)
        return self._places[call.method].taken(call.address)

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
