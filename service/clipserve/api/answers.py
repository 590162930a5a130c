"""The answers of the use cases in JSON, as the OpenAPI document shows them and the client reads them.

The service renders its answers by hand (`clipserve.rest.rendering`), because vectors take most of their time there;
tests compare what it renders with these types. A field with a default may be absent. The names
end in Json, because the answers of the use cases have the others.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, FiniteFloat, JsonValue

from clipserve.errors import kinds

T = TypeVar("T")

_CODES: list[JsonValue] = [kind.code for kind in kinds()]

# An error of a list is its first item's: those of all items would take a hundred times the answer's memory.
List = Annotated[list[T], FailFast()]
Fingerprint = Annotated[
    str,
    Field(
        description="of the model's weights, tokenizer, preprocessing and precision: only vectors of equal "
        "fingerprints can be compared"
    ),
]


class JsonAnswer(BaseModel):
    """Base of all answers. It is strict: no text is converted to a number. Other fields are allowed and kept."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)


class ItemErrorJson(JsonAnswer):
    """Why one of several items has no result."""

    code: Annotated[
        str,
        Field(description="stable: clients may branch on it", json_schema_extra={"enum": [*_CODES]}),
    ]
    detail: Annotated[str, Field(description="one sentence for people")]
    limit: Annotated[
        FiniteFloat | None, Field(description="the limit that was exceeded, in the unit that `detail` names")
    ] = None
    actual: Annotated[
        FiniteFloat | None, Field(description="the value that exceeded it, in the same unit")
    ] = None
    index: Annotated[
        int | None,
        Field(description="position in the request of the image, text or label that the error is about"),
    ] = None


class ProblemJson(ItemErrorJson):
    """An error of the whole request (RFC 9457, application/problem+json)."""

    code: Annotated[
        str,
        Field(
            description="stable: clients may branch on it",
            json_schema_extra={"enum": [*_CODES, "not_found", "method_not_allowed"]},
        ),
    ]
    type: Annotated[str, Field(pattern="^urn:clipserve:error:[a-z_]+$", description="the code as a URN")]
    title: Annotated[str, Field(description="the status in words")]
    status: Annotated[int, Field(description="the HTTP status")]
    request_id: Annotated[str, Field(description="the id in X-Request-Id and in the log")]


class ItemFailureJson(JsonAnswer):
    """An item without a result. The other items have theirs."""

    error: ItemErrorJson


class OfModelJson(JsonAnswer):
    model: str
    fingerprint: Fingerprint


class LabelScoreJson(JsonAnswer):
    label: str
    score: Annotated[
        FiniteFloat,
        Field(
            description="softmax over the labels, the sigmoid of each label, or the cosine, as `scoring` says"
        ),
    ]
    cosine: Annotated[FiniteFloat, Field(description="similarity of image and label, from -1 to 1")]
    logit: Annotated[FiniteFloat, Field(description="cosine times the model's logit scale, plus its bias")]
    id: Annotated[str | None, Field(description="the id that the label set gives the label")] = None


class ImageLabelsJson(JsonAnswer):
    """The labels of one image, best first."""

    labels: List[LabelScoreJson]


class LabelSetLabelsJson(JsonAnswer):
    label_set: Annotated[str, Field(description="the label set's name")]
    labels: Annotated[List[LabelScoreJson], Field(description="best first")]


class ImageLabelSetsJson(JsonAnswer):
    """The labels of one image from each of several label sets, in the order of the request."""

    label_sets: List[LabelSetLabelsJson]


class UsedLabelSetJson(JsonAnswer):
    """The label set that gave the scores."""

    name: str
    version: Annotated[str, Field(description="changes with everything that its scores depend on")]


class ClassificationJson(OfModelJson):
    """Results in the order of the images."""

    label_sets: Annotated[
        List[UsedLabelSetJson], Field(default_factory=list, description="the label sets of the request")
    ]
    results: List[ImageLabelsJson | ImageLabelSetsJson | ItemFailureJson]
    truncated_labels: Annotated[
        List[str], Field(default_factory=list, description="labels with a prompt that was cut")
    ]
    warnings: Annotated[
        List[str],
        Field(default_factory=list, description="what is unusual in the request, in sentences for people"),
    ]


class ImageVectorJson(JsonAnswer):
    """The vector of one image."""

    embedding: Annotated[list[float] | str, Field(title="Vector")]
    scale: Annotated[
        FiniteFloat | None, Field(description="with int8: each value of the vector is the integer times this")
    ] = None


class TextVectorJson(ImageVectorJson):
    """The vector of one text. `truncated`: some of its `tokens` were cut."""

    tokens: int
    truncated: bool


class EmbeddingsJson(OfModelJson):
    """Results in the order of the request, images first."""

    results: List[TextVectorJson | ImageVectorJson | ItemFailureJson]


class ItemSimilaritiesJson(JsonAnswer):
    """One item compared with each of `to_images`, then each of `to_texts`."""

    cosine: List[float]
    logit: Annotated[List[float], Field(description="cosine times the model's logit scale, plus its bias")]


class SimilaritiesJson(OfModelJson):
    """Results in the order of the request, images first."""

    results: List[ItemSimilaritiesJson | ItemFailureJson]


class TextTokensJson(JsonAnswer):
    """The tokens of one text as the encoder gets them, special tokens included."""

    ids: List[int]
    pieces: Annotated[List[str], Field(description="each token as the vocabulary writes it")]
    tokens: Annotated[int, Field(description="the number of tokens of the text")]
    truncated: Annotated[
        bool,
        Field(
            description="whether the text has more than `context_length` tokens; `ids` and `pieces` have only "
            "those that fit"
        ),
    ]


class TokenizationJson(OfModelJson):
    """Results in the order of the texts."""

    context_length: Annotated[int, Field(description="the maximum number of tokens")]
    results: List[TextTokensJson]


class ModelInfoJson(JsonAnswer):
    id: str
    object: Literal["model"]
    ready: bool
    fingerprint: str
    embed_dim: int
    image_size: int
    context_length: int
    scoring: str
    logit_scale: FiniteFloat
    logit_bias: FiniteFloat
    prompt_templates: List[str]
    precision: str
    checkpoint: str
    licence: str
    random_weights: bool


class ModelListJson(JsonAnswer):
    object: Literal["list"]
    data: List[ModelInfoJson]


class AliveJson(JsonAnswer):
    status: Literal["alive"]


class ReadyJson(JsonAnswer):
    status: Literal["ready"]


class NotReadyJson(JsonAnswer):
    status: Literal["not ready"]
