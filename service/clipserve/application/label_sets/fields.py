"""The fields of a label set, as a request in JSON has them, and a file. docs/label-sets.md says what they mean."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from clipserve.clip.zeroshot import ScoringFunction

# One fault of a list is enough: an error for each item would be a caller's way to make a great many.
Texts = Annotated[list[str], FailFast()]
Number = Annotated[float, Field(allow_inf_nan=False)]


class LabelFields(BaseModel):
    """A label with more than its name. `examples`: base64 or data URIs; in a file, names of files beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    id: str | None = None
    prompts: Texts = []
    examples: Texts = []
    threshold: Number | None = None


def _form(label: object) -> str:
    return "name" if isinstance(label, str) else "object"


# What is wrong with an object is told of an object alone, and not that it is no name either.
_Label = Annotated[Annotated[str, Tag("name")] | Annotated[LabelFields, Tag("object")], Discriminator(_form)]


class LabelSetFields(BaseModel):
    """A label set: what its labels are, and how they are scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[list[_Label], FailFast()]
    templates: Texts = []
    background: Texts = []
    model: str | None = None
    expect_fingerprint: str | None = None
    truncate: bool = False
    scoring: ScoringFunction | None = None
    temperature: Number | None = None
    threshold: Number | None = None
    example_weight: Number = 0.5
