"""The requests. A front calls `check` before it passes one to `Inference`.

It does so in the thread that parses the request, so that a request over a limit is freed there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from clipserve.application.limits import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    RequestLimits,
    at_most,
    check_labels,
    check_range,
    each_at_most,
    prompts_at_most,
)
from clipserve.application.ranking import Ranking
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import expand
from clipserve.clip.zeroshot import SCORING_FUNCTIONS, ScoringFunction
from clipserve.errors import ClipError, InvalidInput

if TYPE_CHECKING:  # they load Pillow, and a client has requests too
    from clipserve.application.encoder import ImageSource
    from clipserve.clip.images import ImageHeader


@dataclass(frozen=True)
class Choice:
    """The model to use. `model`: its name; None: the first. `expect_fingerprint`: the caller's; None or "": any."""

    model: str | None = field(default=None, kw_only=True)
    expect_fingerprint: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ScoreOptions:
    """How labels are scored and which are returned. None: the value of the label set, or else of the model.

    Attributes:
        scoring: the function that computes scores; see `ZeroShotClassifier.scores`.
        temperature: divides logits; cosines are not affected.
        threshold: labels with a lower score are not returned.
        top_k: the most labels that are returned; None: all.
    """

    scoring: ScoringFunction | None = field(default=None, kw_only=True)
    temperature: float | None = field(default=None, kw_only=True)
    threshold: float | None = field(default=None, kw_only=True)
    top_k: int | None = field(default=None, kw_only=True)

    def check_scores(self) -> None:
        """Raises InvalidInput: an option is out of its range."""
        if self.scoring not in (None, *SCORING_FUNCTIONS):
            raise InvalidInput(f"scoring must be one of {', '.join(SCORING_FUNCTIONS)}.")
        if self.top_k is not None and self.top_k < 1:
            raise InvalidInput(f"top_k is {self.top_k}; it must be at least 1.", limit=1, actual=self.top_k)
        check_range("temperature", self.temperature, MIN_TEMPERATURE, MAX_TEMPERATURE)
        check_range("threshold", self.threshold, -1.0, 1.0)


@dataclass(frozen=True)
class ClassifyRequest(Choice, ScoreOptions):
    """Images, with labels or names of label sets.

    Attributes:
        templates: none: the model's own.
        background: labels that take part in the softmax and are not returned.
        label_sets: each a name, or name@version.
    """

    images: Sequence[ImageSource]
    labels: Sequence[str] = ()
    templates: Sequence[str] = ()
    background: Sequence[str] = ()
    truncate: bool = False
    label_sets: Sequence[str] = ()

    @property
    def ranking(self) -> Ranking:
        """The ranking of the request's own labels."""
        return Ranking(
            self.scoring, self.temperature or 1.0, self.threshold, self.top_k, len(self.background)
        )

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
        """Itself. Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.images:
            raise InvalidInput("there is nothing to classify: send at least one image.")
        at_most("images", len(self.images), limits.max_images)
        self.check_scores()
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
        if self.labels or self.templates or self.background or self.truncate:
            raise InvalidInput(
                "a label set has its own labels, templates, background and truncate: send these or a label set."
            )
        at_most("label sets", len(self.label_sets), limits.max_request_label_sets)
        for index, name in enumerate(self.label_sets):
            if name in self.label_sets[:index]:
                raise InvalidInput(f"label set {index} is the same as one before it.", index=index)

    def expanded_templates(self, manifest: ModelManifest, limits: RequestLimits) -> tuple[str, ...]:
        """See `expanded_templates`."""
        return expanded_templates(self.templates, [*self.labels, *self.background], manifest, limits)


@dataclass(frozen=True)
class EmbedRequest(Choice):
    """Images and texts to embed.

    Attributes:
        all_or_nothing: whether the error of one image fails the request.
        dimensions: the number of dimensions that the caller expects; None: any.
    """

    images: Sequence[ImageSource] = ()
    texts: Sequence[str] = ()
    truncate: bool = False
    all_or_nothing: bool = False
    dimensions: int | None = None

    def check(self, limits: RequestLimits) -> Self:
        """Itself. Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to embed: send at least one image or text.")
        at_most("images", len(self.images), limits.max_images)
        _check_texts(self.texts, limits)
        return self

    def check_dimensions(self, manifest: ModelManifest) -> None:
        """Raises InvalidInput: the model's vectors have another number of dimensions."""
        if self.dimensions not in (None, manifest.embed_dim):
            raise InvalidInput(
                f"dimensions is {self.dimensions}; the vectors of {manifest.name} have {manifest.embed_dim}, and "
                "cannot be cut: only models that are trained for it (Matryoshka) keep their meaning in the first "
                f"dimensions. Leave dimensions out, or ask for {manifest.embed_dim}.",
                limit=manifest.embed_dim,
                actual=self.dimensions,
            )


@dataclass(frozen=True)
class SimilarityRequest(Choice):
    """Compare each of `images` and `texts` with each of `to_images` and `to_texts`."""

    images: Sequence[ImageSource] = ()
    texts: Sequence[str] = ()
    to_images: Sequence[ImageSource] = ()
    to_texts: Sequence[str] = ()
    truncate: bool = False

    def check(self, limits: RequestLimits) -> Self:
        """Itself. Raises InvalidInput, TooMany or TextTooLong: a side is empty, or both together exceed a limit."""
        if not self.images and not self.texts:
            raise InvalidInput("there is nothing to compare: send at least one image or text.")
        if not self.to_images and not self.to_texts:
            raise InvalidInput(
                "there is nothing to compare with: send at least one of to_images or to_texts."
            )
        at_most("images", len(self.images) + len(self.to_images), limits.max_images)
        _check_texts([*self.texts, *self.to_texts], limits)
        return self


@dataclass(frozen=True)
class TokenizeRequest(Choice):
    """Texts to tokenize. A text that is too long for the model is cut, and is not an error."""

    texts: Sequence[str] = ()

    def check(self, limits: RequestLimits) -> Self:
        """Itself. Raises InvalidInput, TooMany or TextTooLong: nothing to do, or over a limit."""
        if not self.texts:
            raise InvalidInput("there is nothing to tokenize: send at least one text.")
        _check_texts(self.texts, limits)
        return self


def expanded_templates(
    templates: Sequence[str], labels: Sequence[str], manifest: ModelManifest, limits: RequestLimits
) -> tuple[str, ...]:
    """The templates, with names of template sets replaced by their templates; if there are none, the model's own.

    It also checks the limits of the prompts that these make of `labels`.

    Raises:
        BadPromptTemplate: a template without a slot is not a set's name, one has too many slots, or is a duplicate.
        TooMany, TextTooLong: a limit is exceeded.
    """
    at_most("templates", len(templates), limits.max_templates)
    each_at_most("template", templates, limits.max_label_chars)
    expanded = expand(templates or manifest.prompt_templates)
    at_most("templates", len(expanded), limits.max_templates)
    if labels:
        prompts_at_most(labels, expanded, limits)
    return expanded


def check_pixels(headers: Sequence[ImageHeader | ClipError], limits: RequestLimits) -> None:
    """Check the pixels of several images together. A single image has its own limit.

    Raises:
        TooMany: the images have too many pixels together.
    """
    pixels = [header.pixels for header in headers if not isinstance(header, ClipError)]
    if len(pixels) > 1:
        at_most(f"pixels in its {len(pixels)} images", sum(pixels), limits.max_request_pixels)


def _check_texts(texts: Sequence[str], limits: RequestLimits) -> None:
    at_most("texts", len(texts), limits.max_texts)
    each_at_most("text", texts, limits.max_text_chars)
