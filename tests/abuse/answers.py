"""Answers, taken out of the bytes that a server sends."""

from __future__ import annotations

import json
from dataclasses import dataclass

import hpack

from tests.abuse.attack import Attack
from tests.rpc.raw import HEADERS

LATE = (503, 504)  # what a machine that is busy with other things brings too
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
    """`status`: of HTTP."""

    status: int
    body: bytes


def http_answers(data: bytearray) -> Answer | None:
    """The first whole answer of HTTP/1.1, which is taken out of the bytes; None while there is none."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    chunked = headers.get("transfer-encoding") == "chunked"
    size = _chunks(data, end + 4) if chunked else int(headers.get("content-length", 0))
    if size is None or len(data) < end + 4 + size:
        return None
    body = bytes(data[end + 4 : end + 4 + size])
    del data[: end + 4 + size]
    return Answer(int(first.split()[1]), body)


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
    """The same for one connection to a gRPC server: an answer is a call's end, its body the error's message."""

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
    return Answer(next(faults, _HTTP.get(code, 500)), message)


def fault_of(answer: Answer, attack: Attack) -> str | None:
    """What is wrong with it: a 200 that should be none, a 5xx, a refusal without a code."""
    if answer.status < 400:
        return None if attack.legal and answer.status == 200 else f"status {answer.status}"
    if answer.status >= 500:
        return None if answer.status in LATE else f"status {answer.status}"
    if attack.rpc:  # to what is no call, gRPC's library may say nothing
        return None if answer.body or attack.silent else f"status {answer.status} without a message"
    try:
        body = json.loads(answer.body)
    except ValueError:
        return f"status {answer.status} without JSON"
    error = body.get("error")  # as other servers' clients know it
    told = (error if isinstance(error, dict) else body).get("code")
    return None if told else f"status {answer.status} without a code"
