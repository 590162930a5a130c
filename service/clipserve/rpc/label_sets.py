"""The methods of label sets: parse, call `LabelSets`, render."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipserve.application.body import Body
from clipserve.application.label_sets.definition import LabelFields, LabelSetFields
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.label_sets import LabelSets
from clipserve.application.label_sets.request import PutRequest, put_request
from clipserve.concurrency import SideThread
from clipserve.rpc import enums, rendering
from clipserve.rpc.call import Work
from clipserve.rpc.message import Walk
from clipserve.rpc.parsing import Parsing, given, parsed
from clipserve.v1 import clip_pb2

_SHORT_SETS, _SHORT_PROMPTS = 64, 256  # rendered about as fast as a thread wakes
_LABELS = clip_pb2.PutLabelSetRequest.LABELS_FIELD_NUMBER
_WEIGHTS = {clip_pb2.PutLabelSetRequest.WEIGHTS_FIELD_NUMBER: "weights"}
_EXAMPLES = {clip_pb2.NewLabel.EXAMPLES_FIELD_NUMBER: "examples"}


class LabelSetMethods:
    """Each method takes a message and returns the bytes of its answer."""

    def __init__(self, label_sets: LabelSets, side: SideThread, parsing: Parsing) -> None:
        self._label_sets = label_sets
        self._side = side
        self._parsing = parsing

    def unary(self) -> Mapping[str, Work]:
        """All methods, by their names in clip.proto."""
        return {
            "ListLabelSets": self.list_all,
            "GetLabelSet": self.get,
            "PutLabelSet": self.put,
            "DeleteLabelSet": self.delete,
        }

    async def list_all(self, body: Body) -> bytes:
        await self._parsing.read(body, clip_pb2.ListLabelSetsRequest, lambda *_: None)
        states = self._label_sets.all()
        return await self._side.call(rendering.label_sets, states, short=len(states) <= _SHORT_SETS)

    async def get(self, body: Body) -> bytes:
        name = await self._parsing.read(body, clip_pb2.GetLabelSetRequest, _name)
        return await self._rendered(clip_pb2.GetLabelSetResponse, self._label_sets.get(name))

    async def put(self, body: Body) -> bytes:
        asked = await self._parsing.read_by(body, _to_put)
        return await self._rendered(clip_pb2.PutLabelSetResponse, await self._label_sets.put(asked))

    async def delete(self, body: Body) -> bytes:
        name = await self._parsing.read(body, clip_pb2.DeleteLabelSetRequest, _name)
        await self._label_sets.delete(name)
        return rendering.as_bytes(clip_pb2.DeleteLabelSetResponse())

    async def _rendered(self, kind: Any, state: LabelSet) -> bytes:
        # Of weights, which may be megabytes, a digest is computed.
        short = state.prompts <= _SHORT_PROMPTS and state.definition.weights is None
        return await self._side.call(rendering.label_set, kind, state, short=short)


def _name(message: Any, *_: object) -> str:
    name: str = message.name
    return name


def _to_put(body: Body, walk: Walk) -> PutRequest:
    messages, cut, rest = walk.messages(body.take(), _LABELS, _WEIGHTS)
    own = parsed(clip_pb2.PutLabelSetRequest, rest)
    images: list[bytes] = []
    labels: list[str | LabelFields] = [*_labels(messages, walk, images)]
    fields = _fields(own, labels, cut["weights"])
    return put_request(own.name, fields, lambda position: images[int(position)])


def _labels(messages: list[bytes], walk: Walk, images: list[bytes]) -> Iterator[LabelFields]:
    """Each label; its example images are added to `images`, and in the label their positions stand for them."""
    messages.reverse()
    while messages:
        own, rest = walk.images(messages.pop(), _EXAMPLES)  # popped, so that no image is in memory twice
        start = len(images)
        images += own["examples"]
        label = parsed(clip_pb2.NewLabel, rest)
        yield LabelFields.model_construct(
            label=label.label,
            prompts=list(label.prompts),
            examples=[*map(str, range(start, len(images)))],
            **given(label, "id", "threshold"),
        )


def _fields(
    message: clip_pb2.PutLabelSetRequest, labels: list[str | LabelFields], weights: Sequence[bytes]
) -> LabelSetFields:
    """Not validated once more: a message has its types, and the check of the request refuses NaN.

    `weights`: each time that the field is there; as in any message the last one counts.
    """
    return LabelSetFields.model_construct(
        labels=labels,
        templates=list(message.templates),
        background=list(message.background),
        truncate=message.truncate,
        scoring=enums.scoring(message.scoring),
        weights=base64.b64encode(weights[-1]).decode() if weights else None,
        biases=list(message.biases),
        **given(message, "model", "expect_fingerprint", "temperature", "threshold", "example_weight"),
    )
