"""What an answer about label sets holds."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from clipserve.application.label_sets.entry import State
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.rest.schemas import absent


class LabelSetSummary(BaseModel):
    """A label set in short."""

    name: str
    version: str = Field(description="changes with all that decides the scores, the model included")
    state: State = Field(description="of this version")
    served_version: str | SkipJsonSchema[None] = absent(
        "what requests get now: until `version` is built, the one before; absent: nothing yet"
    )
    model: str
    fingerprint: str = Field(description="the model's")
    label_count: int
    prompts: int = Field(description="to be encoded for this version")
    prompts_done: int
    read_only: bool = Field(description="it comes from a file, which alone can change it")
    error: str | SkipJsonSchema[None] = absent("why it is not built")


class LabelSetList(BaseModel):
    """All label sets, by name."""

    label_sets: list[LabelSetSummary]


class SetLabel(BaseModel):
    """A label of a set."""

    label: str
    id: str | SkipJsonSchema[None] = absent("your own")
    prompts: list[str] | SkipJsonSchema[None] = absent("what describes it, instead of the templates")
    examples: list[str] | SkipJsonSchema[None] = absent("the SHA-256 of each example image, in hexadecimal")
    threshold: float | SkipJsonSchema[None] = absent("instead of the set's")


class MisreadExample(BaseModel):
    """An example that is taken for another label."""

    label: str = Field(description="whose it is")
    example: int = Field(description="its position among those of the label")
    taken_for: str


class LeaveOneOutResult(BaseModel):
    """How the examples are judged, each by the classifier that is made without it."""

    accuracy: float = Field(description="of all examples, 0 to 1")
    examples: int = Field(description="how many there are")
    misread: list[MisreadExample]


class LabelSet(LabelSetSummary):
    """A label set as it was put, with all that was left to the model filled in, and what came of it."""

    labels: list[SetLabel]
    templates: list[str] = Field(description="each with its slots; names of template sets are expanded")
    background: list[str]
    truncate: bool
    example_weight: float
    scoring: ScoringFunction | SkipJsonSchema[None] = absent("absent: as the model was trained")
    temperature: float | SkipJsonSchema[None] = absent("absent: 1")
    threshold: float | SkipJsonSchema[None] = absent("absent: none, unless a label has its own")
    loo: LeaveOneOutResult | SkipJsonSchema[None] = absent(
        "leave-one-out: once it is built, if it has examples"
    )
    truncated_labels: list[str] | SkipJsonSchema[None] = absent("labels with a prompt that was cut")
    warnings: list[str] | SkipJsonSchema[None] = absent("what is odd about it, for people")
