"""The answers about template sets and label sets; see `clipserve.api.answers`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from clipserve.api.answers import Answer, List, Texts
from clipserve.clip.zeroshot import ScoringFunction

State = Literal["ready", "building", "failed"]


@dataclass
class ListedTemplateSet(Answer):
    """A template set without its class names."""

    name: Annotated[str, Field(description="in a request's `templates` it stands for all its templates")]
    templates: Annotated[List[str], Field(description="each with one or two slots `{}` for a label")]
    classes: Annotated[int, Field(description="the number of class names")]
    source: Annotated[str, Field(description="where the templates were published, and their licence")]


@dataclass
class TemplateSet(ListedTemplateSet):
    """A template set with its class names."""

    class_names: List[str]
    """the class names of the data set that the templates were written for, in its order; use them as `labels`"""


@dataclass
class TemplateSetList(Answer):
    """General template sets first, then all others by name."""

    template_sets: List[ListedTemplateSet]


@dataclass
class LabelSetSummary(Answer):
    """A label set without its definition."""

    name: str
    version: Annotated[str, Field(description="changes with all that the scores depend on, the model too")]
    state: Annotated[State, Field(description="of this version")]
    served_version: Annotated[
        str | None,
        Field(description="that requests get: the former one until `version` is built; or none yet"),
    ] = field(default=None, kw_only=True)
    model: str
    fingerprint: Annotated[str, Field(description="the model's fingerprint")]
    label_count: int
    prompts: Annotated[int, Field(description="prompts to encode for this version")]
    prompts_done: int
    error: Annotated[str | None, Field(description="why it is not built")] = field(default=None, kw_only=True)


@dataclass
class LabelSetList(Answer):
    """All label sets, by name."""

    label_sets: List[LabelSetSummary]


@dataclass
class SetLabel(Answer):
    """A label of a set."""

    label: str
    id: str | None = None
    """your own id"""
    prompts: Texts = field(default_factory=tuple)
    """sentences that describe it, in place of the templates"""
    examples: Texts = field(default_factory=tuple)
    """the SHA-256 of each example image, in hexadecimal"""
    threshold: FiniteFloat | None = None
    """in place of the set's"""


@dataclass(kw_only=True)
class LabelSet(LabelSetSummary):
    """A label set as it was put, with the model's defaults filled in, and the results of its build."""

    templates: List[str]
    """each with its slots; names of template sets are expanded"""
    background: List[str]
    truncate: bool
    scoring: ScoringFunction | None = None
    """absent: as the model was trained"""
    temperature: FiniteFloat | None = None
    """absent: 1"""
    threshold: FiniteFloat | None = None
    """absent: none, unless a label has its own"""
    example_weight: FiniteFloat
    labels: List[SetLabel]
