"""The requests of the use cases: their fields, each with its limits, meaning and an example.

JSON and forms are validated by these types, and the OpenAPI document is made of them. An API calls `check` where it
parses a request, so that one over a limit is freed in that thread. What is made in Python is not validated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field

from clipserve.api.fields import (
    Background,
    CutPrompts,
    CutTexts,
    ExpectedFingerprint,
    Images,
    Labels,
    ModelName,
    Strings,
    Temperature,
    Templates,
    Texts,
    Threshold,
    closed,
    filled,
    some_of,
    text_list,
    whole,
)
from clipserve.api.limits import (
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    check_scoring,
    check_templates,
    each_at_most,
)
from clipserve.clip.zeroshot import SCORING_FUNCTIONS, ScoringFunction
from clipserve.errors import InvalidInput

EmbeddingType = Literal["float32", "float16", "int8", "binary", "ubinary"]
EncodingFormat = Literal["float", "base64"]
_Count = Annotated[
    int,
    Field(le=2**31 - 1, examples=[5], json_schema_extra={"format": "int32", "minimum": 1}),
    BeforeValidator(whole),
]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The model to use, and the vectors that the caller has. `model` is None: the first."""

    __pydantic_config__: ClassVar[ConfigDict] = closed()

    model: ModelName | None = None
    expect_fingerprint: ExpectedFingerprint | None = None

    def check(self, limits: RequestLimits) -> Self:  # noqa: ARG002
        """Itself. Raises InvalidInput, TooMany or TextTooLong: there is nothing to do, or it is over a limit."""
        return self


@dataclass(frozen=True)
class ClassifyRequest(Choice):
    """Images, with labels or names of label sets. What is None is as the label set has it, or else the model."""

    __pydantic_config__ = closed(
        required=["images"],
        anyOf=[
            filled("labels", "label_sets"),
            filled("label_sets", "labels", "templates", "background", truncate={"not": {"const": True}}),
        ],
    )

    images: Annotated[Images, Field(json_schema_extra={"minItems": 1})] = ()
    labels: Annotated[Labels, Field(examples=[["cat", "dog"]])] = ()
    """candidate labels; an image's scores compare them"""
    templates: Annotated[Templates, Field(examples=[["a photo of a {}."]])] = ()
    """such as `a photo of a {}.`, or names of template sets, for all of theirs; a label's prompts are averaged"""
    background: Background = ()
    label_sets: Annotated[
        Strings, text_list("max_request_label_sets", distinct=True), Field(examples=[[]])
    ] = ()
    """names of label sets, in place of `labels`"""
    scoring: Annotated[ScoringFunction, Field(title="Scoring")] | None = None
    """how logits become scores; default: the label set's, else as the model was trained"""
    temperature: Temperature | None = None
    """divides logits: above 1, scores are less certain; default: the label set's, else 1"""
    threshold: Threshold | None = None
    """labels with a lower score are omitted; default: the label set's, else none"""
    top_k: _Count | None = None
    """the maximum number of labels to return, of each label set; default: all"""
    truncate: CutPrompts = False

    def of_models(self, names: Collection[str]) -> ClassifyRequest:
        """The request, for the one model of its label sets. `names`: the models of the sets.

        Raises:
            InvalidInput: the sets are of several models, or of another model than the request names.
        """
        wanted = {*names, self.model or next(iter(names))}
        if len(wanted) > 1:
            raise InvalidInput(
                f"a request has one model, and this one and its label sets name several: "
                f"{', '.join(sorted(wanted))}. Send one for each."
            )
        return replace(self, model=wanted.pop())

    def check(self, limits: RequestLimits) -> Self:
        if not self.images:
            raise InvalidInput("there is nothing to classify: send at least one image.")
        if self.scoring not in (None, *SCORING_FUNCTIONS):
            raise InvalidInput(f"scoring must be one of {', '.join(SCORING_FUNCTIONS)}.")
        at_most("images", len(self.images), limits.max_images)
        check_templates(self.templates, limits)
        check_scoring(self.temperature, self.threshold)
        check_range("top_k", self.top_k, 1, None)
        if self.label_sets:
            self._check_label_sets(limits)
        elif not self.labels:
            raise InvalidInput(
                "there is nothing to choose from: send at least one label, or the name of a label set."
            )
        else:
            check_labels(self.labels, self.background, limits)
        return self

    def _check_label_sets(self, limits: RequestLimits) -> None:
        at_most("label sets", len(self.label_sets), limits.max_request_label_sets)
        if self.labels or self.templates or self.background or self.truncate:
            raise InvalidInput(
                "a label set has its own labels, templates, background and truncate: send these or a label set."
            )
        for index, name in enumerate(self.label_sets):
            if name in self.label_sets[:index]:
                raise InvalidInput(f"label set {index} is the same as one before it.", index=index)


@dataclass(frozen=True)
class EmbedRequest(Choice):
    """Images and texts to embed. `encoding_format` is JSON's alone."""

    __pydantic_config__ = closed(**some_of("images", "texts"))

    images: Images = ()
    texts: Annotated[Texts, Field(examples=[["a photo of a cat"]])] = ()
    """texts to embed; their results follow those of the images"""
    truncate: CutTexts = False
    encoding_format: Annotated[EncodingFormat, Field(title="EncodingFormat")] = "float"
    """a list of numbers, or base64 of their bytes, little-endian"""
    embedding_type: Annotated[EmbeddingType, Field(title="EmbeddingType")] = "float32"
    """the type of the numbers; docs/api.md says how each changes the results of a search"""

    def check(self, limits: RequestLimits) -> Self:
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to embed: send at least one image or text.")
        _check_items(self.images, self.texts, limits)
        return self


@dataclass(frozen=True)
class SimilarityRequest(Choice):
    """Compare each of `images` and `texts` with each of `to_images` and `to_texts`."""

    __pydantic_config__ = closed(allOf=[some_of("images", "texts"), some_of("to_images", "to_texts")])

    images: Images = ()
    texts: Texts = ()
    """texts to compare; their results follow those of the images"""
    to_images: Images = ()
    to_texts: Annotated[Texts, Field(examples=[["a photo of a cat", "a photo of a dog"]])] = ()
    """texts to compare with; their values follow those of `to_images`"""
    truncate: CutTexts = False

    def check(self, limits: RequestLimits) -> Self:
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to compare: send at least one image or text.")
        if not self.to_images and not self.to_texts:
            raise InvalidInput(
                "there is nothing to compare with: send at least one of to_images or to_texts."
            )
        _check_items([*self.images, *self.to_images], [*self.texts, *self.to_texts], limits)
        return self


@dataclass(frozen=True)
class TokenizeRequest(Choice):
    """Texts to tokenize. A text that is too long for the model is cut, and is not an error."""

    texts: Annotated[Texts, Field(json_schema_extra={"minItems": 1}, examples=[["a photo of a cat"]])]
    """texts to tokenize"""

    def check(self, limits: RequestLimits) -> Self:
        if not self.texts:
            raise InvalidInput("there is nothing to tokenize: send at least one text.")
        _check_items((), self.texts, limits)
        return self


def _check_items(images: Sequence[object], texts: Sequence[str], limits: RequestLimits) -> None:
    at_most("images", len(images), limits.max_images)
    at_most("texts", len(texts), limits.max_texts)
    each_at_most("text", texts, limits.max_text_chars)
