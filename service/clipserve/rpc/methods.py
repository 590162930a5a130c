"""The methods of clip.proto: make a request of the message, ask the use case, render the answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message
from grpc.aio import EOF

from clipserve.access.gate import when_there_is_room
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.body import Body
from clipserve.application.shared import Shared
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.concurrency import clears_frame, ended
from clipserve.errors import ClipError
from clipserve.rpc import rendering
from clipserve.rpc.calls import Call
from clipserve.rpc.memory import read_patiently
from clipserve.rpc.message import parsed, size_to_parse
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.requests import embed_item, fields_of, put_label_set
from clipserve.v1 import clip_pb2

M = TypeVar("M", bound=Message)
R = TypeVar("R", ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest)
T = TypeVar("T")

_STREAM_ITEMS = 16  # of an EmbedStream between its reading and the sending of their answers


class Methods:
    """Each method has its name in clip.proto, takes the bytes of a message, and gives those of the answer.

    EmbedStream takes a call, whose messages it reads and answers.

    Raises:
        ClipError: the error of the call.
    """

    def __init__(self, shared: Shared, limits: RpcOptions) -> None:
        self._inference = shared.inference
        self._label_sets = shared.inference.label_sets
        self._rendered = shared.rendered
        self._gate = shared.gate
        self._limits = limits

    async def Classify(self, body: Body) -> bytes:
        request = await self._request(ClassifyRequest, clip_pb2.ClassifyRequest, body)
        answer = await self._inference.classify(request)
        return await self._rendered(rendering.classification, answer)

    async def Embed(self, body: Body) -> bytes:
        request = await self._request(EmbedRequest, clip_pb2.EmbedRequest, body)
        answer = await self._inference.embed(request)
        return await self._rendered(rendering.embedding, answer, request.embedding_type)

    @clears_frame
    async def EmbedStream(self, call: Call) -> bytes:
        """Answer each message, in order. The answer has the error of the item, if any.

        A call has no deadline but its client's. If the client takes no answers, nothing is read.

        Raises:
            BodyTooSlow: the client has sent nothing for a while, though it has all answers.
            Unauthenticated, PermissionDenied: the key was removed meanwhile.
        """
        room = asyncio.Semaphore(_STREAM_ITEMS)
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()  # None: no more will come
        in_flight: deque[asyncio.Task[bytes]] = deque()
        now = asyncio.get_running_loop().time
        seconds, answered = self._limits.body_timeout_seconds, now()

        async def read() -> None:
            def is_silent(now: float) -> bool:
                return not in_flight and now >= answered + seconds

            try:
                while True:
                    await room.acquire()
                    message = await read_patiently(call.context.read, seconds, is_silent)
                    if message is EOF:
                        return
                    body = Body(message)
                    del message  # only `body` holds it
                    await call.bytes.wait(len(body))
                    await when_there_is_room(partial(self._gate.charge, size=len(body)))
                    in_flight.append(asyncio.create_task(self._item(body, call)))
                    answers.put_nowait(in_flight[-1])
            finally:
                answers.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while task := await answers.get():
                await call.write(await task)
                in_flight.popleft()
                answered = now()
                room.release()
            await reader  # raises its error, after the answers to what came before
        finally:
            await ended([reader, *in_flight])
        return b""

    async def _item(self, body: Body, call: Call) -> bytes:
        size = len(body)
        try:
            request = await self._read(clip_pb2.EmbedRequest, body, embed_item)
        except ClipError as error:
            return rendering.embedded_item(error)
        answer = await self._inference.embed_item(request)
        call.bytes.shrink(size)
        return rendering.embedded_item(answer, request.embedding_type)

    async def Similarity(self, body: Body) -> bytes:
        request = await self._request(SimilarityRequest, clip_pb2.SimilarityRequest, body)
        answer = await self._inference.similarity(request)
        return await self._rendered(rendering.similarity, answer)

    async def Tokenize(self, body: Body) -> bytes:
        request = await self._request(TokenizeRequest, clip_pb2.TokenizeRequest, body)
        answer = await self._inference.tokenize(request)
        return await self._rendered(rendering.tokenization, answer)

    async def ListModels(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListModelsRequest, body)
        return await self._rendered(rendering.models, await self._inference.models())

    async def ListTemplateSets(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListTemplateSetsRequest, body)
        return await self._rendered(rendering.template_sets, [*TEMPLATE_SETS.values()])

    async def GetTemplateSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.GetTemplateSetRequest, body)
        return await self._rendered(rendering.template_set, template_set(message.name))

    async def ListLabelSets(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListLabelSetsRequest, body)
        return await self._rendered(rendering.label_sets, self._label_sets.all())

    async def GetLabelSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.GetLabelSetRequest, body)
        label_set = self._label_sets.get(message.name)
        return await self._rendered(rendering.label_set, label_set, clip_pb2.GetLabelSetResponse)

    async def PutLabelSet(self, body: Body) -> bytes:
        request = await self._read(clip_pb2.PutLabelSetRequest, body, put_label_set)
        label_set = await self._label_sets.put(request)
        return await self._rendered(rendering.label_set, label_set, clip_pb2.PutLabelSetResponse)

    async def DeleteLabelSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.DeleteLabelSetRequest, body)
        await self._label_sets.delete(message.name)
        return b""

    async def _request(self, kind: type[R], message_kind: type[Message], body: Body) -> R:
        """The request that a message is, checked."""
        limits = self._inference.limits
        return await self._read(message_kind, body, lambda message: kind(**fields_of(message)).check(limits))

    async def _message(self, kind: type[M], body: Body) -> M:
        return await self._read(kind, body, lambda message: message)

    async def _read(self, kind: type[M], body: Body, make: Callable[[M], T]) -> T:
        """What `make` makes of the message, beside the event loop if there is much to parse."""
        most = self._limits.max_json_bytes
        return await body.parsed(
            lambda body: make(parsed(kind, body.take(), most)), partial(size_to_parse, kind)
        )
