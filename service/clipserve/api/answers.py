"""What is answered, each as one type: the application makes it, an API writes it, the OpenAPI document shows it,
and the client reads it. gRPC's messages have fields of the same names.

Where an item failed, its `ClipError` stands for an `ItemFailure`. In JSON a field that is None or an empty tuple is
left out (`shown`). A field's description is the docstring below it. Subclasses inherit only those in `Field`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, FailFast, Field, FiniteFloat, GetPydanticSchema, JsonValue

from clipserve.errors import ClipError, kinds

T = TypeVar("T")

_CODES: list[JsonValue] = [kind.code for kind in kinds()]

# An error of a list is its first item's: those of all items would take a hundred times the answer's memory.
List = Annotated[list[T], FailFast()]


def in_json(kind: Any) -> GetPydanticSchema:
    """Marks a type that is of this kind in JSON, and where JSON is read."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


Texts = Annotated[Sequence[str], in_json(List[str])]
Numbers = Annotated[npt.NDArray[np.float32], in_json(List[float])]
Vector = Annotated[npt.NDArray[np.float32], in_json(list[float] | str)]
Fingerprint = Annotated[
    str,
    Field(
        description="of the model's weights, tokenizer, preprocessing and precision: only vectors of equal "
        "fingerprints can be compared"
    ),
]


@dataclass
class Answer:
    """Base of all answers. Readers are strict: no text is converted to a number. Other fields are kept."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="allow", defer_build=True, use_attribute_docstrings=True
    )


def shown(answer: Answer) -> dict[str, Any]:
    """The fields that have a value, in order, as JSON and messages show them."""
    fields = vars(answer).items()
    return {
        name: value for name, value in fields if value is not None and (type(value) is not tuple or value)
    }


@dataclass
class ItemError(Answer):
    """Why one of several items has no result."""

    code: Annotated[str, Field(json_schema_extra={"enum": [*_CODES]})]
    """stable: clients may branch on it"""
    detail: Annotated[str, Field(description="one sentence for people")]
    limit: Annotated[FiniteFloat | None, Field(description="the limit, in the unit that `detail` names")] = (
        None
    )
    actual: Annotated[FiniteFloat | None, Field(description="the value beyond it, in the same unit")] = None
    index: Annotated[int | None, Field(description="of the image, text or label in the request")] = None


@dataclass(kw_only=True)
class Problem(ItemError):
    """An error of the whole request (RFC 9457, application/problem+json)."""

    code: Annotated[str, Field(json_schema_extra={"enum": [*_CODES, "not_found", "method_not_allowed"]})]
    """stable: clients may branch on it"""
    type: Annotated[str, Field(pattern="^urn:clipserve:error:[a-z_]+$")]
    """the code as a URN"""
    title: str
    """the status in words"""
    status: int
    """the HTTP status"""
    request_id: str
    """the id in X-Request-Id and in the log"""


@dataclass
class ItemFailure(Answer):
    """An item without a result. The other items have theirs."""

    error: ItemError


Failed = Annotated[ClipError, in_json(ItemFailure)]


@dataclass
class OfModel(Answer):
    model: str
    fingerprint: Fingerprint


@dataclass
class LabelScore(Answer):
    label: str
    score: FiniteFloat
    """softmax over the labels, the sigmoid of each label, or the cosine, as `scoring` says"""
    cosine: FiniteFloat
    """similarity of image and label, from -1 to 1"""
    logit: FiniteFloat
    """cosine times the model's logit scale, plus its bias"""
    id: str | None = None
    """the id that the label set gives the label"""


Labels = Annotated[Sequence[LabelScore], in_json(List[LabelScore])]


@dataclass
class ImageLabels(Answer):
    """The labels of one image, best first."""

    labels: Labels


@dataclass
class LabelSetLabels(Answer):
    label_set: str
    labels: Labels
    """best first"""


@dataclass
class ImageLabelSets(Answer):
    """The labels of one image from each of several label sets, in the order of the request."""

    label_sets: List[LabelSetLabels]


@dataclass
class UsedLabelSet(Answer):
    """The label set that gave the scores."""

    name: str
    version: str
    """changes with everything that its scores depend on"""


@dataclass
class Classification(OfModel):
    """Results in the order of the images."""

    label_sets: Annotated[Sequence[UsedLabelSet], in_json(List[UsedLabelSet])] = field(
        default_factory=tuple, kw_only=True
    )
    """the label sets of the request"""
    results: List[ImageLabels | ImageLabelSets | Failed]
    truncated_labels: Texts = field(default_factory=tuple)
    """labels with a prompt that was cut"""
    warnings: Texts = field(default_factory=tuple)
    """what is unusual in the request, in sentences for people"""


@dataclass
class ImageVector(Answer):
    """The vector of one image."""

    embedding: Annotated[Vector, Field(title="Vector")]
    scale: Annotated[
        FiniteFloat | None, Field(description="with int8: each value of the vector is the integer times this")
    ] = field(default=None, kw_only=True)


@dataclass
class TextVector(ImageVector):
    """The vector of one text. `truncated`: some of its `tokens` were cut."""

    tokens: int
    truncated: bool


@dataclass
class Embeddings(OfModel):
    """Results in the order of the request, images first."""

    results: List[TextVector | ImageVector | Failed]


@dataclass
class ItemSimilarities(Answer):
    """One item compared with each of `to_images`, then each of `to_texts`."""

    cosine: Numbers
    logit: Numbers
    """cosine times the model's logit scale, plus its bias"""


@dataclass
class Similarities(OfModel):
    """Results in the order of the request, images first."""

    results: List[ItemSimilarities | Failed]


@dataclass
class TextTokens(Answer):
    """The tokens of one text as the encoder gets them, special tokens included."""

    ids: List[int]
    pieces: List[str]
    """each token as the vocabulary writes it"""
    tokens: int
    """the number of tokens of the text"""
    truncated: bool
    """whether the text has more than `context_length` tokens; `ids` and `pieces` have only those that fit"""


@dataclass
class Tokenization(OfModel):
    """Results in the order of the texts."""

    context_length: int
    """the maximum number of tokens"""
    results: List[TextTokens]
