"""Reads the message of PutLabelSet, whose labels are messages with images of their own."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from functools import partial

from clipserve.application.body import Body
from clipserve.application.label_sets.definition import LabelFields, LabelSetFields
from clipserve.application.label_sets.entry import LabelSet
from clipserve.application.label_sets.request import put_request
from clipserve.application.limits import RequestLimits
from clipserve.application.shared import Question
from clipserve.rpc import enums, rendering
from clipserve.rpc.message import Walk
from clipserve.rpc.parsing import given, parsed
from clipserve.v1 import clip_pb2

_LABELS = clip_pb2.PutLabelSetRequest.LABELS_FIELD_NUMBER
_WEIGHTS = {clip_pb2.PutLabelSetRequest.WEIGHTS_FIELD_NUMBER: "weights"}
_EXAMPLES = {clip_pb2.NewLabel.EXAMPLES_FIELD_NUMBER: "examples"}


def read_put(body: Body, walk: Walk, _: RequestLimits) -> Question[LabelSet, bytes]:
    messages, cut, rest = walk.messages(body.take(), _LABELS, _WEIGHTS)
    own = parsed(clip_pb2.PutLabelSetRequest, rest)
    images: list[bytes] = []
    labels: list[str | LabelFields] = [*_labels(messages, walk, images)]
    fields = _fields(own, labels, cut["weights"])
    asked = put_request(own.name, fields, lambda position: images[int(position)])
    return Question(
        lambda of: of.label_sets.put(asked), partial(rendering.label_set, clip_pb2.PutLabelSetResponse)
    )


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
