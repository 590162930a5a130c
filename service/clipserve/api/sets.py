"""The answers about template sets and label sets; see `clipserve.api.answers`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from clipserve.api.answers import JsonAnswer, List
from clipserve.clip.zeroshot import ScoringFunction


class ListedTemplateSetJson(JsonAnswer):
    """A template set without its class names."""

    name: Annotated[
        str, Field(description="in the field `templates` of a request, it stands for all its templates")
    ]
    templates: Annotated[List[str], Field(description="each with one or two slots `{}` for a label")]
    classes: Annotated[int, Field(description="the number of class names")]
    source: Annotated[str, Field(description="where the templates were published, and their licence")]


class TemplateSetJson(ListedTemplateSetJson):
    """A template set with its class names."""

    class_names: Annotated[
        List[str],
        Field(
            description="the class names of the data set that the templates were written for, in its order; use "
            "them as `labels`"
        ),
    ]


class TemplateSetListJson(JsonAnswer):
    """General template sets first, then all others by name."""

    template_sets: List[ListedTemplateSetJson]


class LabelSetSummaryJson(JsonAnswer):
    """A label set without its definition."""

    name: str
    version: Annotated[
        str, Field(description="changes with everything that the scores depend on, including the model")
    ]
    state: Annotated[Literal["ready", "building", "failed"], Field(description="of this version")]
    served_version: Annotated[
        str | None,
        Field(
            description="the version that requests get: the former one until `version` is built; absent: none yet"
        ),
    ] = None
    model: str
    fingerprint: Annotated[str, Field(description="the model's fingerprint")]
    label_count: int
    prompts: Annotated[int, Field(description="prompts to encode for this version")]
    prompts_done: int
    read_only: Annotated[bool, Field(description="it comes from a file, and only that file can change it")]
    error: Annotated[str | None, Field(description="why it is not built")] = None


class LabelSetListJson(JsonAnswer):
    """All label sets, by name."""

    label_sets: List[LabelSetSummaryJson]


class SetLabelJson(JsonAnswer):
    """A label of a set."""

    label: str
    id: Annotated[str | None, Field(description="your own id")] = None
    prompts: Annotated[
        List[str],
        Field(default_factory=list, description="sentences that describe it, in place of the templates"),
    ]
    examples: Annotated[
        List[str],
        Field(default_factory=list, description="the SHA-256 of each example image, in hexadecimal"),
    ]
    threshold: Annotated[FiniteFloat | None, Field(description="in place of the set's")] = None


class TrainedWeightsJson(JsonAnswer):
    """of a set with trained weights, what they are, in place of all of them"""

    dim: Annotated[int, Field(description="numbers for each label, as many as a vector has")]
    sha256: Annotated[str, Field(description="of all numbers, in hexadecimal")]
    fingerprint: Annotated[
        str, Field(description="of the model that they were trained for, and for no other")
    ]


class MisreadExampleJson(JsonAnswer):
    """An example that gets another label."""

    label: Annotated[str, Field(description="the label of the example")]
    example: Annotated[int, Field(description="its position among the examples of the label, from 0")]
    taken_for: str


class LeaveOneOutJson(JsonAnswer):
    """leave-one-out, once it is built: how each example is classified by a classifier that is built without it"""

    accuracy: Annotated[FiniteFloat, Field(description="of all examples, 0 to 1")]
    examples: Annotated[int, Field(description="the number of examples")]
    misread: List[MisreadExampleJson]


class LabelSetJson(LabelSetSummaryJson):
    """A label set as it was put, with the model's defaults filled in, and the results of its build."""

    labels: List[SetLabelJson]
    templates: Annotated[
        List[str], Field(description="each with its slots; names of template sets are expanded")
    ]
    background: List[str]
    truncate: bool
    example_weight: FiniteFloat
    scoring: Annotated[ScoringFunction | None, Field(description="absent: as the model was trained")] = None
    temperature: Annotated[FiniteFloat | None, Field(description="absent: 1")] = None
    threshold: Annotated[
        FiniteFloat | None, Field(description="absent: none, unless a label has its own")
    ] = None
    weights: TrainedWeightsJson | None = None
    loo: LeaveOneOutJson | None = None
    truncated_labels: Annotated[
        List[str], Field(default_factory=list, description="labels with a prompt that was cut")
    ]
    warnings: Annotated[
        List[str],
        Field(default_factory=list, description="what is unusual in the set, in sentences for people"),
    ]
