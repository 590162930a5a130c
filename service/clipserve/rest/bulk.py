"""POST /bulk: lines of JSON in, a line of JSON out for each, in order, while they arrive.

A request has no deadline, and rows of other requests have priority. There are limits for what it holds in memory
(`clipserve.application.stream`), for its bytes and lines, for the rates at which it sends and takes answers
(`clipserve.application.pace`), and for the number of such requests.

The answer begins with the first result. A later error of the request becomes its last line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import orjson
from starlette.types import Receive, Send

from clipserve.access.gate import when_there_is_room
from clipserve.api.requests import EmbedRequest, VectorOptions
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.pace import PaceLimits, StreamPace
from clipserve.application.shared import Shared
from clipserve.application.stream import InFlightLimit, Total, TotalLimits, in_order
from clipserve.concurrency import beside_loop
from clipserve.errors import ClipError, UnsupportedMediaType
from clipserve.quota import Lease
from clipserve.rest.body import ClientGone
from clipserve.rest.errors import fields
from clipserve.rest.lines import Line, Splitter, parse_line
from clipserve.rest.paths import Streaming
from clipserve.rest.rendering import result_fields
from clipserve.rest.request import Request
from clipserve.rest.uploads import in_query

NDJSON = "application/x-ndjson"

_SHORT = 4_096  # bytes of a line, which is parsed faster than a thread wakes
_BREATH = 256  # lines until other tasks have their turn


@dataclass(frozen=True, kw_only=True)
class BulkLimits(TotalLimits, PaceLimits):
    """The limits of one bulk request. A line has the limit of a body."""

    max_body_bytes: int


class Bulk(Streaming):
    """Answers bulk requests; each call answers one."""

    def __init__(self, shared: Shared, limits: BulkLimits) -> None:
        self._shared = shared
        self._limits = limits

    async def __call__(self, request: Request, receive: Receive, send: Send, lease: Lease) -> None:
        """Answer a request while its body arrives.

        Raises:
            ClipError, ClientGone: see `clipserve.errors`. If the answer had begun, its last line has the error.
        """
        with self._shared.bulk_places.of_present(lease.caller):
            await self._answer(request, receive, send, lease)

    async def _answer(self, request: Request, receive: Receive, send: Send, lease: Lease) -> None:
        options = _fields(request)
        model = self._shared.inference.find(options)
        headers = [(b"content-type", NDJSON.encode()), (b"x-model-fingerprint", model.fingerprint.encode())]

        pace = StreamPace(self._limits)

        async def embed(line: Line) -> bytes:
            with pace.at_work():
                result = await self._embed(line, options)
            lease.shrink(line.size)
            return _rendered(line, result, options)

        started, lines = False, self._lines(receive, lease, pace)
        try:
            async with aclosing(in_order(lines, embed, InFlightLimit(), attrgetter("size"))) as answers:
                async for answer in answers:
                    if not started:
                        await send({"type": "http.response.start", "status": 200, "headers": headers})
                        started = True
                    await _give(answer, send, pace)
        except ClipError as error:
            if started:
                last = orjson.dumps({"error": fields(error)}) + b"\n"
                await send({"type": "http.response.body", "body": last})
            raise
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _embed(self, line: Line, options: VectorOptions) -> VectorOrError | EncodedText:
        if isinstance(line.item, ClipError):
            return line.item
        images, texts = ([], [line.item]) if isinstance(line.item, str) else ([line.item], [])
        asked = EmbedRequest(images, texts, truncate=options.truncate, model=options.model)
        answer = await self._shared.inference.embed_item(asked)
        if isinstance(answer, ClipError):
            return answer.at(line.index)
        return [*answer.images, *answer.texts][0]

    async def _lines(self, receive: Receive, lease: Lease, pace: StreamPace) -> AsyncGenerator[Line, None]:
        index, total = 0, Total(self._limits)
        async with aclosing(self._split(receive, total, pace)) as lines:
            async for data in lines:
                index += 1
                if index % _BREATH == 0:
                    await asyncio.sleep(0)
                total.add(items=1)
                size = len(data)
                if data and not data.isspace():
                    await lease.wait(size)
                    yield await beside_loop(partial(parse_line, index - 1, data), size)
                del data  # do not hold it while waiting for the next

    async def _split(self, receive: Receive, total: Total, pace: StreamPace) -> AsyncGenerator[bytes, None]:
        splitter = Splitter(self._limits.max_body_bytes)
        more = True
        while more:
            piece, more = await _piece(receive, pace)
            total.add(size=len(piece))
            if piece:
                await when_there_is_room(partial(self._shared.gate.charge, size=len(piece)))
            for line in splitter.feed(piece):
                yield line
        yield splitter.rest()


async def _piece(receive: Receive, pace: StreamPace) -> tuple[bytes, bool]:
    message = await pace.receive(receive)
    if message["type"] == "http.disconnect":
        raise ClientGone
    piece = message.get("body", b"")
    pace.received(len(piece))
    return piece, message.get("more_body", False)


async def _give(answer: bytes, send: Send, pace: StreamPace) -> None:
    """Who does not take it is as good as gone."""
    with pace.giving(len(answer)) as seconds:
        try:
            async with asyncio.timeout(seconds):
                await send({"type": "http.response.body", "body": answer, "more_body": True})
        except TimeoutError:
            raise ClientGone from None


def _fields(request: Request) -> VectorOptions:
    kind = request.header(b"content-type").partition(";")[0].strip().lower()
    if kind not in (NDJSON, "application/jsonl", "application/json-seq", "application/octet-stream"):
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}. Send lines of JSON, as {NDJSON}: "
            f"curl -H 'Content-Type: {NDJSON}' --data-binary @lines.ndjson"
        )
    return in_query(request, VectorOptions)


def _rendered(line: Line, result: VectorOrError | EncodedText, options: VectorOptions) -> bytes:
    shown: dict[str, Any] = {"index": line.index}
    if line.id is not None:
        shown["id"] = line.id
    shown |= result_fields(result, options)
    return orjson.dumps(shown, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
