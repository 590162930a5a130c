"""The fields of a label set, as a request in JSON has them, and a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from clipserve.application.limits import MAX_TEMPERATURE, MIN_TEMPERATURE
from clipserve.clip.zeroshot import ScoringFunction

# One fault of a list is enough: an error for each item would be a caller's way to make a great many.
Texts = Annotated[list[str], FailFast()]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LabelFields(BaseModel):
    """A label with more than its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="its name")
    id: str | None = Field(
        default=None, description="your own, returned beside the label", examples=["n02123045"]
    )
    prompts: Texts = Field(
        default=[],
        description="sentences that describe it, instead of the templates; a slot `{}` is filled with the label",
        examples=[["a small animal with whiskers", "a photo of a {} at home"]],
    )
    examples: Texts = Field(
        default=[],
        description="example images: base64 or data URIs; in a file, names of files beside it",
        examples=[[]],
    )
    threshold: Number | None = Field(default=None, description="instead of the set's, for this label")


def _form(label: object) -> str:
    return "name" if isinstance(label, str) else "object"


# What is wrong with an object is told of an object alone, and not that it is no name either.
_Label = Annotated[Annotated[str, Tag("name")] | Annotated[LabelFields, Tag("object")], Discriminator(_form)]


class LabelSetFields(BaseModel):
    """A label set: what its labels are, and how they are scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[list[_Label], FailFast()] = Field(
        description="each a name, or an object", examples=[["cat", {"label": "dog", "id": "7"}]]
    )
    templates: Texts = Field(
        default=[],
        description="prompt templates, or names of template sets; without any, the model's own",
        examples=[["a photo of a {}."]],
    )
    background: Texts = Field(
        default=[],
        description="labels that join the softmax and are not returned",
        examples=[["something else"]],
    )
    model: str | None = Field(default=None, description="name of a served model; without it, the first")
    expect_fingerprint: str | None = Field(
        default=None,
        description="the model's: with another the request is refused; empty: any",
        examples=[""],
    )
    truncate: bool = Field(
        default=False, description="cut prompts of too many tokens instead of refusing them"
    )
    scoring: ScoringFunction | None = Field(
        default=None,
        description="what makes scores of logits, if a request does not say; without it, as the model does",
    )
    temperature: Number | None = Field(
        default=None,
        description=f"divides logits, from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}, if a request does not say",
        examples=[1.0],
    )
    threshold: Number | None = Field(
        default=None, description="labels with a lower score are left out, if a request does not say"
    )
    example_weight: Number = Field(
        default=0.5, description="of the examples in a label's embedding, 0 to 1; the rest is its prompts'"
    )
