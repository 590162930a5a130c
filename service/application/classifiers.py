"""Builds zero-shot classifiers once and remembers them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from cachetools import LRUCache

from service.application.encoder import DualEncoder
from service.clip.prompts import fill
from service.clip.zeroshot import ZeroShotClassifier, ensemble
from service.concurrency import SharedBuilds
from service.engine.backend import Vector
from service.errors import TextTooLong
from service.telemetry.deadline import forget_deadline
from service.telemetry.metrics import Metrics

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Labels that are encoded before they are remembered: a request that runs out of time has not worked for nothing,
# and when it is sent again goes on where it stopped.
_CHUNK = 128
_ENTRY_OVERHEAD = 256  # bytes of Python objects around a cached value, roughly


@dataclass(frozen=True)
class Prompting:
    """How a label becomes texts: the templates, slots and all, and whether a prompt may be truncated."""

    templates: tuple[str, ...]
    truncate: bool = False


@dataclass(frozen=True)
class LabelWeight:
    """The ensemble of one label's prompts; `truncated` if one of them was."""

    vector: Vector
    truncated: bool


@dataclass(frozen=True)
class BuiltClassifier:
    """A classifier, and those of its labels whose prompts were truncated."""

    classifier: ZeroShotClassifier
    truncated: tuple[str, ...]


class Classifiers:
    """Two caches in front of one text encoder, each bounded in bytes.

    A label's weight is remembered by (label, prompting), a whole classifier by (labels, prompting): a new list
    of known labels costs no inference, a known list not even a look at each label. Requests that ask for the
    same classifier at the same time share one build, which goes on as long as one of them waits.
    """

    def __init__(self, encoder: DualEncoder, cache_bytes: int, metrics: Metrics) -> None:
        self._encoder = encoder
        self._metrics = metrics
        self._weights: LRUCache[tuple[str, Prompting], LabelWeight] = LRUCache(
            cache_bytes // 2, lambda weight: int(weight.vector.nbytes) + _ENTRY_OVERHEAD
        )
        self._classifiers: LRUCache[tuple[tuple[str, ...], Prompting], BuiltClassifier] = LRUCache(
            cache_bytes // 2, _size_of_classifier
        )
        self._builds = SharedBuilds[BuiltClassifier]()

    def missing(self, labels: tuple[str, ...], prompting: Prompting) -> int:
        """How many texts `get` would have to encode now."""
        if (labels, prompting) in self._classifiers:
            return 0
        unknown = sum((label, prompting) not in self._weights for label in labels)
        return unknown * len(prompting.templates)

    async def get(self, labels: tuple[str, ...], prompting: Prompting) -> BuiltClassifier:
        """The classifier of `labels`, which are distinct; each weight the ensemble of its label's prompts.

        Raises:
            TextTooLong: a prompt exceeds the context length; the index is that of its label.
        """
        key = (labels, prompting)
        known = self._classifiers.get(key)
        self._metrics.cache("classifier", hit=known is not None)
        if known is not None:
            return known
        return await self._builds.get(key, lambda: self._build(labels, prompting))

    async def _build(self, labels: tuple[str, ...], prompting: Prompting) -> BuiltClassifier:
        forget_deadline()  # other requests may wait for this build, and longer than the first
        weights: dict[str, LabelWeight] = {}
        for label in labels:
            known = self._weights.get((label, prompting))
            self._metrics.cache("label", hit=known is not None)
            if known is not None:
                weights[label] = known
        new = [label for label in labels if label not in weights]
        for start in range(0, len(new), _CHUNK):
            chunk = new[start : start + _CHUNK]
            try:
                weights.update(zip(chunk, await self._weigh(chunk, prompting), strict=True))
            except TextTooLong as error:
                raise _of_label(
                    error, labels.index(chunk[(error.index or 0) // len(prompting.templates)])
                ) from None
        built = BuiltClassifier(
            ZeroShotClassifier(
                labels, np.stack([weights[k].vector for k in labels]), self._encoder.manifest.scoring
            ),
            tuple(label for label in labels if weights[label].truncated),
        )
        _remember(self._classifiers, (labels, prompting), built)
        return built

    async def _weigh(self, labels: Sequence[str], prompting: Prompting) -> list[LabelWeight]:
        prompts = [fill(template, label) for label in labels for template in prompting.templates]
        encoded = await self._encoder.encode_texts(prompts, truncate=prompting.truncate)
        weights = []
        for i, label in enumerate(labels):
            own = encoded[i * len(prompting.templates) : (i + 1) * len(prompting.templates)]
            vector = ensemble(np.stack([text.vector for text in own]))  # [T, D] -> [D]
            weight = LabelWeight(vector, any(text.truncated for text in own))
            _remember(self._weights, (label, prompting), weight)
            weights.append(weight)
        return weights


def _of_label(error: TextTooLong, index: int) -> TextTooLong:
    return TextTooLong(
        f"label {index} makes a prompt of {error.actual} tokens, special tokens included; the limit is "
        f"{error.limit}. Shorten the label or the template, or send truncate=true.",
        limit=error.limit,
        actual=error.actual,
        index=index,
    )


def _size_of_classifier(built: BuiltClassifier) -> int:
    labels = sum(len(label) for label in built.classifier.labels)
    return int(built.classifier.weights.nbytes) + 4 * labels + _ENTRY_OVERHEAD * len(built.classifier.labels)


def _remember(cache: LRUCache[K, V], key: K, value: V) -> None:
    if cache.getsizeof(value) <= cache.maxsize:  # a larger value is served, not kept
        cache[key] = value
