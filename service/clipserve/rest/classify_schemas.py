"""What a classification may say and what its answer holds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from clipserve.application.limits import MAX_TEMPERATURE, MIN_TEMPERATURE
from clipserve.clip.prompts import MAX_SLOTS, NAMED_SLOT, SLOT
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.rest.schemas import ChoiceFields, ItemFailure, absent, whole

_INT32 = 2**31 - 1

# The core checks these and names the position; the document says them as far as JSON Schema can.
# Not only white space: what Python's `str.strip` takes for it is a little more than `\s` of JSON Schema.
_SLOT = f"({'|'.join(re.escape(slot) for slot in (SLOT, NAMED_SLOT))})"
ANY_LABEL: dict[str, Any] = {"type": "string", "pattern": r"[^\s\x1c-\x1f\x85]"}
TOO_MANY_SLOTS: dict[str, Any] = {"pattern": r"[\s\S]*".join([_SLOT] * (MAX_SLOTS + 1))}
SLOTTED: dict[str, Any] = {"type": "string", "pattern": _SLOT, "not": TOO_MANY_SLOTS}
Label = Annotated[str, WithJsonSchema(ANY_LABEL)]
TEMPLATE: dict[str, Any] = {"anyOf": [SLOTTED, {"type": "string", "enum": list(TEMPLATE_SETS)}]}
Template = Annotated[str, WithJsonSchema(TEMPLATE)]


TopK = Annotated[
    int,
    BeforeValidator(whole),
    Field(le=_INT32),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _INT32, "format": "int32"}),
]


# The core checks their bounds; no text is a number that is none, or that has no end.
Temperature = Annotated[
    float,
    Field(allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}),
]
Threshold = Annotated[
    float,
    Field(allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": -1.0, "maximum": 1.0}),
]


class ClassifyFields(ChoiceFields):
    """All of a classify request but its images."""

    labels: list[Label] = Field(
        default=[],
        description="what the image may be; the scores compare these",
        examples=[["cat", "dog"]],
        json_schema_extra={"uniqueItems": True},
    )
    label_sets: list[str] = Field(
        default=[],
        description="instead of labels, names of label sets; `pets@VERSION` for one version and no other",
        examples=[[]],
        json_schema_extra={"uniqueItems": True},
    )
    templates: list[Template] = Field(
        default=[],
        description="prompt templates such as `a photo of a {}.` or `a photo of a {label}.`, or names of template "
        "sets, which count as all that they hold; several are averaged, and none may be there twice",
        examples=[["a photo of a {}."]],
        json_schema_extra={"uniqueItems": True},
    )
    background: list[Label] = Field(
        default=[],
        description="labels that join the softmax and are not returned",
        examples=[["something else"]],
        json_schema_extra={"uniqueItems": True},
    )
    scoring: ScoringFunction | None = Field(
        default=None,
        description="what makes scores of logits; without it, as the label set says, else as the model was trained",
    )
    temperature: Temperature | None = Field(
        default=None,
        description="divides logits: above 1 scores are less certain; without it, as the label set says, else 1",
        examples=[1.0],
    )
    threshold: Threshold | None = Field(
        default=None,
        description="labels with a lower score are left out; without it, as the label set says, else none",
        examples=[0.2],
    )
    top_k: TopK | None = Field(
        default=None,
        description="how many labels to return at most, of each label set; without it, all",
        examples=[5],
    )
    truncate: bool = Field(
        default=False, description="cut prompts of too many tokens instead of refusing them"
    )


class LabelScore(BaseModel):
    label: str
    score: float = Field(
        description="probability: softmax over the labels, or the sigmoid of each alone; or the cosine, if "
        "`scoring` says so"
    )
    cosine: float = Field(description="similarity of image and label, -1 to 1")
    logit: float = Field(description="cosine times the model's scale, plus its bias")
    id: str | SkipJsonSchema[None] = absent("its own in the label set")


class ImageLabels(BaseModel):
    """The labels of one image, best first."""

    labels: list[LabelScore]


class LabelSetLabels(ImageLabels):
    """The labels of one image by one of several label sets, best first."""

    label_set: str = Field(description="its name")


class ImageLabelSets(BaseModel):
    """The labels of one image, by each of several label sets in the order of the request."""

    label_sets: list[LabelSetLabels]


class UsedLabelSet(BaseModel):
    """A label set as it was used."""

    name: str
    version: str = Field(description="changes with all that decides its scores")


class ClassifyResponse(BaseModel):
    """Results in the order of the images."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    label_sets: list[UsedLabelSet] | SkipJsonSchema[None] = absent("those that were asked for")
    results: list[ImageLabels | ImageLabelSets | ItemFailure]
    truncated_labels: list[str] | SkipJsonSchema[None] = absent("labels whose prompts were cut")
    warnings: list[str] | SkipJsonSchema[None] = absent("what is odd about the request, for people")
