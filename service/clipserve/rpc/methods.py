"""The methods of clip.proto: make a request of the message, ask the use case, render the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from clipserve.api.answers import Embeddings
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.body import Body
from clipserve.application.shared import Shared, rendered
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.errors import ClipError
from clipserve.rpc import rendering
from clipserve.rpc.calls import Call
from clipserve.rpc.message import parsed, size_to_parse
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.requests import embed_item, fields_of, put_label_set
from clipserve.rpc.stream import Stream
from clipserve.v1 import clip_pb2

M = TypeVar("M", bound=Message)
R = TypeVar("R", ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest)
T = TypeVar("T")


class Methods:
    """Each method has its name in clip.proto, takes the bytes of a message, and gives those of the answer.

    EmbedStream takes a call, whose messages it reads and answers.

    Raises:
        ClipError: the error of the call.
    """

    def __init__(self, shared: Shared, limits: RpcOptions) -> None:
        self._inference = shared.inference
        self._label_sets = shared.inference.label_sets
        self._gate = shared.gate
        self._limits = limits

    async def Classify(self, body: Body) -> bytes:
        return await self._ask(self._inference.classify, ClassifyRequest, body)

    async def Embed(self, body: Body) -> bytes:
        return await self._ask(self._inference.embed, EmbedRequest, body)

    async def EmbedStream(self, call: Call) -> bytes:
        """Answer each message, in order, with a vector or an error. A call has no deadline but its client's."""
        work, seconds = partial(self._item, call), self._limits.body_timeout_seconds
        await Stream(call, work, lambda size: self._gate.charge(size=size), seconds).run()
        return b""

    async def _item(self, call: Call, body: Body) -> bytes:
        size = len(body)
        try:
            request = await self._read(clip_pb2.EmbedRequest, body, embed_item)
        except ClipError as error:
            answer: Embeddings | ClipError = error.with_traceback(None)  # its frames hold who waited for it
        else:
            answer = await self._inference.embed_item(request)
        call.bytes.shrink(size)
        return rendering.embedded_item(answer)

    async def Similarity(self, body: Body) -> bytes:
        return await self._ask(self._inference.similarity, SimilarityRequest, body)

    async def Tokenize(self, body: Body) -> bytes:
        return await self._ask(self._inference.tokenize, TokenizeRequest, body)

    async def ListModels(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListModelsRequest, body)
        return await rendered(rendering.models, await self._inference.models())

    async def ListTemplateSets(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListTemplateSetsRequest, body)
        return await rendered(rendering.template_sets, [*TEMPLATE_SETS.values()])

    async def GetTemplateSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.GetTemplateSetRequest, body)
        return await rendered(rendering.template_set, template_set(message.name))

    async def ListLabelSets(self, body: Body) -> bytes:
        await self._message(clip_pb2.ListLabelSetsRequest, body)
        return await rendered(rendering.label_sets, self._label_sets.all())

    async def GetLabelSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.GetLabelSetRequest, body)
        found = self._label_sets.get(message.name)
        return await rendered(rendering.label_set, found, clip_pb2.GetLabelSetResponse)

    async def PutLabelSet(self, body: Body) -> bytes:
        request = await self._read(clip_pb2.PutLabelSetRequest, body, put_label_set)
        label_set = await self._label_sets.put(request)
        return await rendered(rendering.label_set, label_set, clip_pb2.PutLabelSetResponse)

    async def DeleteLabelSet(self, body: Body) -> bytes:
        message = await self._message(clip_pb2.DeleteLabelSetRequest, body)
        await self._label_sets.delete(message.name)
        return b""

    async def _ask(self, ask: Callable[[R], Awaitable[object]], kind: type[R], body: Body) -> bytes:
        """Ask a use case, whose request and answer have the names of their messages."""
        message = getattr(clip_pb2, kind.__name__)
        answer = getattr(clip_pb2, kind.__name__.replace("Request", "Response"))
        limits = self._inference.limits
        request = await self._read(message, body, lambda message: kind(**fields_of(message)).check(limits))
        return await rendered(rendering.answered, await ask(request), answer)

    async def _message(self, kind: type[M], body: Body) -> M:
        return await self._read(kind, body, lambda message: message)

    async def _read(self, kind: type[M], body: Body, make: Callable[[M], T]) -> T:
        """What `make` makes of the message, beside the event loop if there is much to parse."""
        most = self._limits.max_json_bytes
        size = partial(size_to_parse, kind)
        return await body.parsed(lambda body: make(parsed(kind, body.take(), most)), size)
