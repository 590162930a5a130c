"""The request to put a label set, and the form of a label set in a file; docs/label-sets.md explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, FailFast, Field, Tag

from clipserve.api.fields import (
    AT_MOST_TWO_SLOTS,
    NOT_BLANK,
    STRING,
    Background,
    CutPrompts,
    ExpectedFingerprint,
    ModelName,
    Number,
    Strings,
    Temperature,
    Templates,
    Threshold,
    text_list,
)
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    check_scoring,
    each_at_most,
)
from clipserve.clip.prompts import MAX_SLOTS, SLOT, filled_chars, one_spelling
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.errors import BadPromptTemplate, InvalidInput, TextTooLong, check_limit

MAX_ID = 128  # characters

_CONFIG = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
_NAME: dict[str, Any] = {"pattern": NOT_BLANK, "maxLength": "$max_label_chars"}
_SENTENCE = STRING | {"pattern": NOT_BLANK} | AT_MOST_TWO_SLOTS


class LabelFields(BaseModel):
    """A label with more than its name."""

    model_config = _CONFIG

    label: Annotated[str, Field(json_schema_extra=_NAME)]
    """its name"""
    id: Annotated[str, Field(examples=["n02123045"], json_schema_extra={"maxLength": MAX_ID})] | None = None
    """your own id, returned with the label"""
    prompts: Annotated[
        Strings,
        text_list("max_templates", "max_prompt_chars", _SENTENCE, distinct=True),
        Field(examples=[["a small animal with whiskers", "a photo of a {} at home"]]),
    ] = []
    """sentences that describe it, in place of the templates; the label fills a slot `{}` or `{label}`"""
    examples: Annotated[Strings, text_list(item=STRING | {"format": "image"}), Field(examples=[[]])] = []
    """example images as base64 or data URIs; in a file, names of files beside it"""
    threshold: Threshold | None = None
    """the threshold of this label, in place of the set's"""

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany, TextTooLong or BadPromptTemplate; its name is checked with the others."""
        at_most("prompts", len(self.prompts), limits.max_templates)
        each_at_most("prompt", self.prompts, limits.max_prompt_chars)
        check_scoring(None, self.threshold)
        if self.id is not None and not (self.id.strip() and self.id.isprintable()):
            raise InvalidInput("its id must have printable characters.")
        check_limit(TextTooLong, "its id has {:,} characters", len(self.id or ""), MAX_ID)
        prompts = [*map(one_spelling, self.prompts)]
        if len(set(prompts)) < len(prompts) or not all(map(str.strip, prompts)):
            raise InvalidInput("it has a prompt twice, or an empty one.")
        for prompt in prompts:
            check_limit(BadPromptTemplate, "a prompt has {:,} slots", prompt.count(SLOT), MAX_SLOTS)
            chars = filled_chars(prompt, len(self.label))
            check_limit(TextTooLong, "a prompt has {:,} characters", chars, limits.max_prompt_chars)


def _form(label: object) -> str:
    return "name" if isinstance(label, str) else "object"


_Name = Annotated[str, Field(json_schema_extra=_NAME), Tag("name")]
# What is wrong with an object is told of an object alone, and not that it is no name either.
_Label = Annotated[_Name | Annotated[LabelFields, Tag("object")], Discriminator(_form)]


class LabelSetFields(BaseModel):
    """A label set: its labels, and their scoring."""

    model_config = _CONFIG

    labels: Annotated[
        list[_Label],
        FailFast(),
        Field(
            examples=[["cat", {"label": "dog", "id": "7"}]],
            json_schema_extra={"minItems": 1, "maxItems": "$max_labels"},
        ),
    ]
    """each a name, or an object"""
    templates: Annotated[Templates, Field(examples=[["a photo of a {}."]])] = []
    """prompt templates, or names of template sets; default: the model's own"""
    background: Background = []
    model: ModelName | None = None
    expect_fingerprint: ExpectedFingerprint | None = None
    truncate: CutPrompts = False
    scoring: ScoringFunction | None = None
    """how logits become scores, if a request does not say; default: as the model was trained"""
    temperature: Temperature | None = None
    """divides logits, from 0.001 to 1000, if a request does not say"""
    threshold: Threshold | None = None
    """labels with a lower score are omitted, if a request does not say"""
    example_weight: Annotated[Number, Field(json_schema_extra={"minimum": 0.0, "maximum": 1.0})] = 0.5
    """of the examples in a label's embedding, 0 to 1; the rest is its prompts'"""

    @property
    def objects(self) -> Sequence[LabelFields]:
        """The labels, each of them an object."""
        return [
            each if isinstance(each, LabelFields) else LabelFields.model_construct(label=each)
            for each in self.labels
        ]

    def check(self, limits: RequestLimits) -> None:
        """Raises InvalidInput, TooMany, TextTooLong or BadPromptTemplate. Templates are checked for the model."""
        labels = self.objects
        if not labels:
            raise InvalidInput("there is nothing to choose from: give at least one label.")
        check_labels([label.label for label in labels], self.background, limits)
        check_scoring(self.temperature, self.threshold)
        check_range("example_weight", self.example_weight, 0.0, 1.0)
        for index, label in enumerate(labels):
            try:
                label.check(limits)
            except InvalidInput as error:
                raise error.at(index, f"label {index}: ") from None
