"""What each failure of a call means: for its caller, for the call, and for the server.

    Triton's answer                          the caller's error   the call          the server
    UNAVAILABLE, its queue is full           Overloaded           is answered       stays in use
    UNAVAILABLE, waited too long in it       DeadlineExceeded     is answered       stays in use
    DEADLINE_EXCEEDED                        DeadlineExceeded     is answered       stays in use
    UNAVAILABLE, NOT_FOUND: gone             -                    goes elsewhere    is set aside (`server`)
    INTERNAL, UNKNOWN: it computes nothing   -                    goes elsewhere    is set aside (`server`)
    any other: the request is at fault       BackendFailed        is answered       stays in use

What UNAVAILABLE means Triton tells in its message alone (`QUEUE_FULL`, `WAITED`, which docs/triton.md names); a
proxy tells with gRPC's own `grpc-retry-pushback-ms` that it is overloaded. INTERNAL comes from a GPU that is lost,
and from a row that cannot be computed: only a probe tells.
"""

from __future__ import annotations

from typing import Literal

import grpc

from clipserve.errors import BackendFailed, ClipError, DeadlineExceeded, Overloaded
from clipserve.telemetry.log import logger

Reason = Literal["unavailable", "not_found", "internal"]

# Triton's own tests of its queue expect the first; tests/external/triton has a real server say both.
QUEUE_FULL, WAITED = "Exceeds maximum queue size", "Request timeout expired"
PUSHBACK = "grpc-retry-pushback-ms"  # https://github.com/grpc/proposal/blob/master/A6-client-retries.md

_ELSEWHERE: dict[grpc.StatusCode, Reason] = {
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.NOT_FOUND: "not_found",
    grpc.StatusCode.INTERNAL: "internal",
    grpc.StatusCode.UNKNOWN: "internal",
}


class TryElsewhere(Exception):
    """This server cannot serve the call now; another one may."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def translated(error: grpc.aio.AioRpcError) -> ClipError | TryElsewhere:
    """The exception to raise for the failure of a call."""
    status, message = error.code(), str(error.details())
    unavailable = status is grpc.StatusCode.UNAVAILABLE
    if unavailable and (QUEUE_FULL in message or PUSHBACK in dict(error.trailing_metadata() or ())):
        return Overloaded("Triton's queue is full.", retry_after=1)
    if unavailable and WAITED in message:
        return DeadlineExceeded("the request waited in Triton's queue until its deadline.")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("Triton did not answer in time.")
    reason = _ELSEWHERE.get(status)
    if reason in (None, "internal"):
        logger.error("triton_failed", status=str(status), message=message[:500])
    return TryElsewhere(reason) if reason else BackendFailed("Triton failed on this request.")
