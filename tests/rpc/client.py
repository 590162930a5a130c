"""Calls from plain values, answers and errors as plain values: those that REST has for the same request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2

from clipserve.v1 import clip_pb2, clip_pb2_grpc

Metadata = Sequence[tuple[str, str]]
DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "binary": "i1", "ubinary": "u1"}


@dataclass
class Refused(Exception):
    """A call that failed. `fields`: code, detail, limit, actual, index, as in REST."""

    status: grpc.StatusCode
    fields: dict[str, Any]
    request_id: str | None = None
    retry_after: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Client:
    """One channel. `metadata`: that of the last answer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = clip_pb2_grpc.ClipStub(channel)
        self.metadata: dict[str, Any] = {}

    async def call(
        self, method: str, metadata: Metadata = (), timeout: float | None = 60, **fields: Any
    ) -> dict[str, Any]:
        """The answer to a unary method, given the fields of its request.

        Raises:
            Refused: the call failed.
        """
        call = getattr(self.stub, method)(request(method, **fields), metadata=metadata, timeout=timeout)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None
        self.metadata = dict(await call.trailing_metadata())
        return plain(answer, fields.get("embedding_type", "float32"))


def request(method: str, **fields: Any) -> Any:
    """The message of a method. Enums may be words of REST, and the labels of a label set names."""
    for name in ("embedding_type", "scoring"):
        if isinstance(word := fields.get(name), str):
            fields[name] = f"{name}_{word}".upper()
    if method == "PutLabelSet":
        fields["labels"] = [
            {"label": each} if isinstance(each, str) else each for each in fields.get("labels", [])
        ]
    return getattr(clip_pb2, f"{method}Request")(**fields)


def plain(answer: Any, embedding_type: str = "float32") -> dict[str, Any]:
    """An answer as the JSON of REST has it; vectors are lists of numbers."""
    shown = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    results: Any = getattr(answer, "results", None) or ([answer.result] if hasattr(answer, "result") else [])
    for result, value in zip(results, shown.get("results", [shown.get("result")]), strict=False):
        _tidy(result, value, embedding_type)
    return dict(_in_words(shown))


def _in_words(value: Any) -> Any:
    """Enums as REST has them; None where nothing was said."""
    if isinstance(value, dict):
        return {name: _in_words(each) for name, each in value.items()}
    if isinstance(value, list):
        return [*map(_in_words, value)]
    for enum in (clip_pb2.Scoring, clip_pb2.LabelSetState):
        if value in enum.keys():  # noqa: SIM118  # it is no mapping
            word = value.removeprefix("SCORING_").removeprefix("LABEL_SET_STATE_").lower()
            return None if word == "unspecified" else word
    return value


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """The error with its details taken apart."""
    metadata = dict(error.trailing_metadata() or ())
    found = Refused(error.code(), {"detail": error.details()}, metadata=metadata)
    status = status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b""))
    assert not status.details or (status.code, status.message) == (error.code().value[0], error.details())
    for packed in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        who = error_details_pb2.RequestInfo()
        if packed.Unpack(info):
            assert (info.domain, info.reason) == ("clipserve", info.metadata["code"].upper())
            numbers = {name: float(text) for name, text in info.metadata.items() if name != "code"}
            found.fields |= {"code": info.metadata["code"], **numbers}
        elif packed.Unpack(retry):
            found.retry_after = retry.retry_delay.ToMilliseconds() / 1000
        elif packed.Unpack(who):
            found.request_id = who.request_id
    return found


@asynccontextmanager
async def client_of(address: str, options: Sequence[tuple[str, Any]] = ()) -> AsyncIterator[Client]:
    """A client with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), *options]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Client(channel)


def _tidy(result: Any, value: dict[str, Any], embedding_type: str) -> None:
    if "error" in value:
        for name in set(value) - {"error"}:
            del value[name]
    elif isinstance(result, clip_pb2.EmbedResult):
        value["embedding"] = np.frombuffer(result.embedding, DTYPES[embedding_type]).tolist()
