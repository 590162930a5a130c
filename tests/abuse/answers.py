"""Answers, taken out of the bytes that a server sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import hpack

from tests.rpc.raw import HEADERS

_FRAME = 9  # bytes of a frame's head
# Status of gRPC -> of HTTP, as google/rpc/code.proto has it; UNIMPLEMENTED, an unknown method, is no 501.
_HTTP = {0: 200, 1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 12: 404, 14: 503, 16: 401}
# The faults of a caller that have a status which may be ours too.
_FAULTS = {
    b"Failed parsing HTTP/2": 400,  # gRPC's library says so, as UNAVAILABLE, and closes the connection
    b"the message was not whole within": 408,  # DEADLINE_EXCEEDED, as all that comes too late
}


@dataclass(frozen=True)
class Answer:
    """`status`: of HTTP. `content_type`: empty where there is none."""

    status: int
    content_type: str
    body: bytes


# Takes the first whole answer out of the bytes; None while there is none.
Take = Callable[[bytearray], Answer | None]


def http_answers(data: bytearray, bodiless: bool = False) -> Answer | None:
    """A `Take` for HTTP/1.1. `bodiless`: answers have no bodies (HEAD)."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    chunked = headers.get("transfer-encoding") == "chunked" and not bodiless
    size = _chunks(data, end + 4) if chunked else 0 if bodiless else int(headers.get("content-length", 0))
    if size is None or len(data) < end + 4 + size:
        return None
    body = bytes(data[end + 4 : end + 4 + size])
    del data[: end + 4 + size]
    return Answer(int(first.split()[1]), headers.get("content-type", ""), body)


def _chunks(data: bytearray, start: int) -> int | None:
    """Bytes of the chunks from `start` on, with their sizes; None while some are missing."""
    at = start
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end], 16)
        at = end + 2 + size + 2
        if size == 0:
            return at - start
    return None


class RpcAnswers:
    """A `Take` for one connection to a gRPC server: an answer is a call's end, its body the error's message."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()

    def __call__(self, data: bytearray) -> Answer | None:
        while len(data) >= _FRAME and len(data) >= (end := _FRAME + int.from_bytes(data[:3])):
            kind, payload = data[3], bytes(data[_FRAME:end])
            del data[:end]
            if kind == HEADERS:
                fields = dict(self._decoder.decode(payload, raw=True))
                if b"grpc-status" in fields:
                    return _of_rpc(int(fields[b"grpc-status"]), fields.get(b"grpc-message", b""))
        return None


def _of_rpc(code: int, message: bytes) -> Answer:
    faults = (status for fault, status in _FAULTS.items() if message.startswith(fault))
    return Answer(next(faults, _HTTP.get(code, 500)), "application/grpc", message)
