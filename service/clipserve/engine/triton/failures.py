"""Translates Triton's errors into ours.

UNAVAILABLE means that the server is gone, or that its queue is full, or that a row waited too long in the queue;
only the message tells these apart.
"""

from __future__ import annotations

from typing import Literal

import grpc

from clipserve.errors import BackendFailed, ClipError, DeadlineExceeded, Overloaded
from clipserve.telemetry.log import logger

Reason = Literal["unavailable", "not_found", "silent"]


class TryElsewhere(Exception):
    """This server cannot serve the call now; another one may."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def translated(error: grpc.aio.AioRpcError) -> ClipError | TryElsewhere:
    """The exception to raise for the failure of a call."""
    status, message = str(error.code()), str(error.details()).lower()
    if "maximum queue size" in message:
        return Overloaded("Triton's queue is full.", retry_after=1)
    if "timeout expired" in message:
        return DeadlineExceeded("the request waited in Triton's queue until its deadline.")
    if "DEADLINE_EXCEEDED" in status:
        return DeadlineExceeded("Triton did not answer in time.")
    if "UNAVAILABLE" in status:
        return TryElsewhere("unavailable")
    if "NOT_FOUND" in status:
        return TryElsewhere("not_found")
    logger.error("triton_failed", status=status, message=message[:500])
    return BackendFailed("Triton failed on this request.")
