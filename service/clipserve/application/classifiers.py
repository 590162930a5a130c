"""Builds zero-shot classifiers and caches them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from clipserve.application.cache import BoundedCache
from clipserve.application.encoder import TextEncoder
from clipserve.clip.manifest import ScoringSpec
from clipserve.clip.prompts import fill
from clipserve.clip.zeroshot import ZeroShotClassifier, ensemble
from clipserve.engine.backend import Vector
from clipserve.errors import InvalidInput, TextTooLong
from clipserve.telemetry.metrics import Metrics

# Prompts that are encoded before the embeddings of their labels are cached. A request that misses its deadline
# continues there when it is sent again.
_CHUNK = 128
LABEL_CACHE_BYTES = 64_000_000  # classifiers and embeddings of labels, of each model
Prompts = Sequence[tuple[int, Sequence[str]]]  # the index of a label, and its prompts
_STRING = 64  # bytes of a Python string besides its characters, roughly


@dataclass(frozen=True)
class Prompting:
    """How a label becomes prompts. `templates`: with their slots. `truncate`: whether a prompt may be cut."""

    templates: tuple[str, ...]
    truncate: bool = False


@dataclass(frozen=True)
class LabelEmbedding:
    """The mean of one label's prompts, float32 [D], unit length. `truncated`: whether one of them was cut."""

    vector: Vector
    truncated: bool


@dataclass(frozen=True)
class BuiltClassifier:
    """A classifier. `truncated`: the labels of which a prompt was cut."""

    classifier: ZeroShotClassifier
    truncated: tuple[str, ...]


class Classifiers:
    """Two caches in front of one text encoder.

    The key of a label's embedding is (label, prompting), that of a whole classifier (labels, prompting). So a new
    list of known labels needs no inference, and a known list needs no look-up of each label. Concurrent requests
    for the same classifier share one build, which goes on as long as one of them waits.
    """

    def __init__(self, texts: TextEncoder, scoring: ScoringSpec, cache_bytes: int, metrics: Metrics) -> None:
        """`cache_bytes`: the size of both caches together."""
        self._texts = texts
        self._scoring = scoring
        self._labels = BoundedCache[tuple[str, Prompting], LabelEmbedding](
            "label", cache_bytes // 2, _sizeof_label, metrics
        )
        self._classifiers = BoundedCache[tuple[tuple[str, ...], Prompting], BuiltClassifier](
            "classifier", cache_bytes // 2, _size_of_classifier, metrics
        )

    def missing(self, labels: tuple[str, ...], prompting: Prompting) -> int:
        """The number of texts that `get` would encode now."""
        if (labels, prompting) in self._classifiers:
            return 0
        unknown = sum((label, prompting) not in self._labels for label in labels)
        return unknown * len(prompting.templates)

    async def get(self, labels: tuple[str, ...], prompting: Prompting) -> BuiltClassifier:
        """The classifier of these distinct labels. A label's embedding is the mean of its prompts' embeddings.

        Raises:
            TextTooLong: a prompt exceeds the context length; the index is that of its label.
            InvalidInput: a label is not valid Unicode.
        """
        return await self._classifiers.get_or_build(
            (labels, prompting), lambda: self._build(labels, prompting)
        )

    async def _build(self, labels: tuple[str, ...], prompting: Prompting) -> BuiltClassifier:
        known = {label: self._labels.get((label, prompting)) for label in labels}
        embeddings = {label: embedding for label, embedding in known.items() if embedding is not None}
        new = [(index, label) for index, label in enumerate(labels) if label not in embeddings]
        step = max(1, _CHUNK // len(prompting.templates))
        for start in range(0, len(new), step):
            chunk = new[start : start + step]
            prompts = [
                (index, [fill(template, label) for template in prompting.templates]) for index, label in chunk
            ]
            embedded = await embed_labels(self._texts, prompts, truncate=prompting.truncate)
            for (_, label), embedding in zip(chunk, embedded, strict=True):
                self._labels.put((label, prompting), embedding)
                embeddings[label] = embedding
        return BuiltClassifier(
            ZeroShotClassifier(labels, np.stack([embeddings[k].vector for k in labels]), self._scoring),
            tuple(label for label in labels if embeddings[label].truncated),
        )


async def embed_labels(texts: TextEncoder, labels: Prompts, *, truncate: bool) -> list[LabelEmbedding]:
    """The embedding of each label. Raises TextTooLong, InvalidInput: see `tell_label`."""
    with tell_label(labels):
        encoded = iter(
            await texts.encode([text for _, prompts in labels for text in prompts], truncate=truncate)
        )
    own = [list(islice(encoded, len(prompts))) for _, prompts in labels]
    return [
        LabelEmbedding(
            ensemble(np.stack([text.vector for text in each])), any(text.truncated for text in each)
        )
        for each in own
    ]


@contextmanager
def tell_label(labels: Prompts) -> Iterator[None]:
    """Raise the error of a prompt in this block as an error of its label.

    Raises:
        TextTooLong: a prompt exceeds the context length.
        InvalidInput: a label is not valid Unicode.
    """
    try:
        yield
    except InvalidInput as error:
        places = [index for index, prompts in labels for _ in prompts]
        raise _of_label(error, places[error.index or 0]) from None


def _of_label(error: InvalidInput, index: int) -> InvalidInput:
    if not isinstance(error, TextTooLong):  # the only other error of a tokenizer
        return InvalidInput(f"label {index} is not valid Unicode: it holds a lone surrogate.", index=index)
    return TextTooLong(
        f"label {index} makes a prompt of {error.actual} tokens, special tokens included; the limit is "
        f"{error.limit}. Shorten the label or the template, or set truncate.",
        limit=error.limit,
        actual=error.actual,
        index=index,
    )


def _sizeof_label(key: tuple[str, Prompting], embedding: LabelEmbedding) -> int:
    label, prompting = key
    return 4 * len(label) + _size_of_prompting(prompting) + int(embedding.vector.nbytes)


def _size_of_classifier(key: tuple[tuple[str, ...], Prompting], built: BuiltClassifier) -> int:
    labels, prompting = key
    text = sum(4 * len(label) + _STRING for label in labels)  # at most 4 bytes a character
    return text + _size_of_prompting(prompting) + int(built.classifier.label_embeddings.nbytes)


def _size_of_prompting(prompting: Prompting) -> int:
    return sum(4 * len(template) + _STRING for template in prompting.templates)
