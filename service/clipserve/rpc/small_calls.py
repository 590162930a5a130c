"""The limits of calls of health and of reflection: small messages, and few calls at a time.

Health needs no key, and gRPC's library receives a message of up to the maximum size before it says how large it is.
So these calls have a few separate slots for reads: their memory is limited, and other calls never wait for
them. A small message comes with its headers, so a read is given up soon while others wait. Slots go to addresses
in turn, so many connections of one address give it no advantage. They count as calls, and those of one method
are at most a tenth of all, so that watchers do not keep others out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage
from grpc.aio import EOF

from clipserve.errors import BodyTooLarge
from clipserve.quota import Lease, Quota
from clipserve.rpc.call import Call
from clipserve.rpc.message import parsed
from clipserve.rpc.options import SMALL_READS, CallLimits
from clipserve.rpc.reading import ReadLimits, ReadSlots

Message = TypeVar("Message", bound=ProtoMessage)

_MAX_BYTES = 1_024
_CROWDED_SECONDS = 0.25
_SHARE, _SHARE_OF_ADDRESS = 10, 40  # the most calls of one method: all over this; and of one address


class SmallCalls:
    """The calls of health and of reflection."""

    def __init__(self, limits: CallLimits) -> None:
        """`limits`: those of all calls."""
        self._slots = ReadSlots(ReadLimits(SMALL_READS, limits.body_timeout_seconds, _CROWDED_SECONDS))
        self._limits = tuple(max(1, limits.grpc_max_calls // share) for share in (_SHARE, _SHARE_OF_ADDRESS))
        self._calls: dict[str, Quota] = {}

    def place(self, call: Call) -> AbstractContextManager[Lease]:
        """Hold a place for calls of this method in the block. Raises Overloaded: there is none."""
        if call.method not in self._calls:
            self._calls[call.method] = Quota(f"calls of {call.method}", *self._limits)
        return self._calls[call.method].lease(call.address, 1)

    async def read(self, call: Call, kind: type[Message]) -> Message | None:
        """The next message; None: the stream has ended.

        Raises:
            BodyTooLarge, BodyTooSlow, MalformedRequest, Overloaded: see `clipserve.errors`.
        """
        data = await self._slots.receive(call.address, call.context.read)
        if data is EOF:
            return None
        if (size := len(data)) > _MAX_BYTES:
            del data  # the error's traceback would hold it
            raise BodyTooLarge(
                f"the message has {size:,} bytes; the limit of {call.method} is {_MAX_BYTES:,}. Send fewer.",
                limit=_MAX_BYTES,
                actual=size,
            )
        return parsed(kind, data)
