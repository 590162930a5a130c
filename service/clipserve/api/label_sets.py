"""The request to put a label set, and the form of a label set in a file; docs/label-sets.md explains it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from clipserve.api.fields import (
    AT_MOST_TWO_SLOTS,
    NOT_BLANK,
    OF_TEMPERATURE,
    OF_THRESHOLD,
    Background,
    CutPrompts,
    ExpectedFingerprint,
    ModelName,
    Number,
    Templates,
    TextList,
)
from clipserve.clip.zeroshot import ScoringFunction

MAX_ID = 128  # characters
MAX_WEIGHT = 1_000_000  # and so no logit leaves float32


class LabelFields(BaseModel):
    """A label with more than its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Annotated[
        str,
        Field(
            description="its name", json_schema_extra={"pattern": NOT_BLANK, "maxLength": "$max_label_chars"}
        ),
    ]
    id: (
        Annotated[
            str,
            Field(
                description="your own id, returned with the label",
                examples=["n02123045"],
                json_schema_extra={"maxLength": MAX_ID},
            ),
        ]
        | None
    ) = None
    prompts: Annotated[
        list[str],
        TextList(
            {"type": "string", "pattern": NOT_BLANK} | AT_MOST_TWO_SLOTS,
            "max_templates",
            "max_prompt_chars",
            distinct=True,
        ),
        Field(
            description="sentences that describe it, in place of the templates; the label fills a slot `{}` or "
            "`{label}`",
            examples=[["a small animal with whiskers", "a photo of a {} at home"]],
        ),
    ] = []
    examples: Annotated[
        list[str],
        TextList({"type": "string", "format": "image"}),
        Field(
            description="example images as base64 or data URIs; in a file, names of files beside it",
            examples=[[]],
        ),
    ] = []
    threshold: (
        Annotated[
            Number,
            Field(
                description="the threshold of this label, in place of the set's",
                json_schema_extra=OF_THRESHOLD,
            ),
        ]
        | None
    ) = None


def _form(label: object) -> str:
    return "name" if isinstance(label, str) else "object"


_Name = Annotated[
    str, Field(json_schema_extra={"pattern": NOT_BLANK, "maxLength": "$max_label_chars"}), Tag("name")
]
# What is wrong with an object is told of an object alone, and not that it is no name either.
_Label = Annotated[_Name | Annotated[LabelFields, Tag("object")], Discriminator(_form)]


class LabelSetFields(BaseModel):
    """A label set: its labels, and their scoring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[
        list[_Label],
        FailFast(),
        Field(
            description="each a name, or an object",
            examples=[["cat", {"label": "dog", "id": "7"}]],
            json_schema_extra={"minItems": 1, "maxItems": "$max_labels"},
        ),
    ]
    templates: Annotated[
        Templates,
        Field(
            description="prompt templates, or names of template sets; default: the model's own",
            examples=[["a photo of a {}."]],
        ),
    ] = []
    background: Background = []
    model: ModelName | None = None
    expect_fingerprint: ExpectedFingerprint | None = None
    truncate: CutPrompts = False
    scoring: (
        Annotated[
            ScoringFunction,
            Field(
                description="how logits become scores, if a request does not say; default: as the model was trained"
            ),
        ]
        | None
    ) = None
    temperature: (
        Annotated[
            Number,
            Field(
                description="divides logits, from 0.001 to 1000, if a request does not say",
                examples=[1.0],
                json_schema_extra=OF_TEMPERATURE,
            ),
        ]
        | None
    ) = None
    threshold: (
        Annotated[
            Number,
            Field(
                description="labels with a lower score are omitted, if a request does not say",
                json_schema_extra=OF_THRESHOLD,
            ),
        ]
        | None
    ) = None
    example_weight: Annotated[
        Number,
        Field(
            description="of the examples in a label's embedding, 0 to 1; the rest is its prompts'",
            json_schema_extra={"minimum": 0.0, "maximum": 1.0},
        ),
    ] = 0.5
    weights: Annotated[
        Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})] | None,
        Field(
            description="a linear classifier of the model's vectors in place of templates, prompts and examples: "
            "float32, little-endian, as many numbers for each label as a vector has; it needs expect_fingerprint",
            examples=[None],
        ),
    ] = None
    biases: Annotated[
        list[Annotated[Number, Field(json_schema_extra={"minimum": -MAX_WEIGHT, "maximum": MAX_WEIGHT})]],
        FailFast(),
        Field(
            description="of the weights: one for each label; without them, 0",
            examples=[[]],
            json_schema_extra={"maxItems": "$max_labels"},
        ),
    ] = []
