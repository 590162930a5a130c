"""A closed loop of gRPC: clients that each call again after the answer, or a stream that never lacks items."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.bodies import photo
from loadtests.closed_loop import together

stub_of: Any = clip_pb2_grpc.ClipStub
# (stub, end, answers): makes calls until `time.perf_counter()` is `end`, and appends each answer.
Load = Callable[[Any, float, list[None]], None]


def _unary(item: clip_pb2.EmbedRequest) -> Load:
    def load(stub: Any, end: float, answers: list[None]) -> None:
        while time.perf_counter() < end:
            stub.Embed(item)
            answers.append(None)

    return load


def _stream(item: clip_pb2.EmbedRequest) -> Load:
    def items(end: float) -> Iterator[clip_pb2.EmbedRequest]:
        while time.perf_counter() < end:
            yield item

    def load(stub: Any, end: float, answers: list[None]) -> None:
        for answer in stub.EmbedStream(items(end)):
            if answer.result.HasField("error"):
                raise SystemExit(f"an item of the stream failed: {answer.result.error.detail}")
            answers.append(None)

    return load


def _photo() -> clip_pb2.EmbedRequest:
    return clip_pb2.EmbedRequest(images=[photo(640, 480)])


def _text() -> clip_pb2.EmbedRequest:
    return clip_pb2.EmbedRequest(texts=["a photo of two dogs in the snow"])


# Name -> what a client does, with which message, and how many clients there are; None: as many as are asked for.
LOADS = {
    "rpc-photo": (_unary, _photo, None),
    "rpc-text": (_unary, _text, None),
    "rpc-stream": (_stream, _text, 1),
}


def run(address: str, name: str, clients: int, seconds: float) -> tuple[float, int]:
    """The answers a second, and their number, of the load of this name."""
    kind, message, own = LOADS[name]
    load = kind(message())
    answers: list[None] = []  # appending is a single step of the interpreter
    with ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(own or clients)
        ]
        began = time.perf_counter()
        together(lambda: load(stub_of(channels.pop()), began + seconds, answers), own or clients)
    return len(answers) / (time.perf_counter() - began), len(answers)
