"""A closed loop of gRPC: clients that each call again after the answer, or a stream that never lacks items."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.bodies import photo
from loadtests.closed_loop import together

stub_of: Any = clip_pb2_grpc.ClipStub
LOADS = ("rpc-photo", "rpc-text", "rpc-stream")  # the last one of texts, in a single stream


def run(address: str, name: str, clients: int, seconds: float) -> tuple[float, int]:
    """The answers a second, and their number, of the load of this name."""
    photos, texts = [photo(640, 480)], ["a photo of two dogs in the snow"]
    asked = (
        clip_pb2.EmbedRequest(images=photos) if name == "rpc-photo" else clip_pb2.EmbedRequest(texts=texts)
    )
    clients = 1 if name == "rpc-stream" else clients
    answers: list[None] = []  # appending is a single step of the interpreter

    def items() -> Iterator[clip_pb2.EmbedRequest]:
        while time.perf_counter() < end:
            yield asked

    def client() -> None:
        stub = stub_of(channels.pop())
        if name != "rpc-stream":
            for item in items():
                stub.Embed(item)
                answers.append(None)
            return
        for answer in stub.EmbedStream(items()):
            if answer.result.HasField("error"):
                raise SystemExit(f"an item of the stream failed: {answer.result.error.detail}")
            answers.append(None)

    with ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each client
        channels = [stack.enter_context(grpc.insecure_channel(address, options)) for _ in range(clients)]
        began = time.perf_counter()
        end = began + seconds
        together(client, clients)
    return len(answers) / (time.perf_counter() - began), len(answers)
