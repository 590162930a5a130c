"""A label set that is ready: its classifier, and the ranking of a request with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipserve.api.requests import ClassifyRequest
from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.parts import PartEmbeddings
from clipserve.application.label_sets.trained import no_cosines, trained_classifier
from clipserve.application.ranking import Ranking
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import LeaveOneOut, leave_one_out, with_examples
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier


@dataclass(frozen=True)
class ServedSet:
    """A built label set.

    Attributes:
        digest: of `definition`.
        truncated: the labels of which a prompt was cut.
        loo: the leave-one-out check of its examples, if any.
        ids: of each label, [K]; empty: no label has one.
        thresholds: of each label, [K]; None: no label has one.
    """

    name: str
    digest: str
    version: str
    definition: Definition
    classifier: ZeroShotClassifier
    truncated: tuple[str, ...]
    loo: LeaveOneOut | None
    ids: tuple[str | None, ...]
    thresholds: FloatArray | None

    def ranking(self, asked: ClassifyRequest) -> Ranking:
        """The ranking of a request. Its options take precedence over those of the set.

        Raises InvalidInput: the set has trained weights, and the request asks for cosines.
        """
        own = self.definition
        if own.weights is not None and asked.scoring == "cosine":
            raise no_cosines(self.name)
        return Ranking(
            asked.scoring or own.scoring,
            asked.temperature or own.temperature or 1.0,
            self.thresholds if asked.threshold is None else asked.threshold,
            asked.top_k,
            len(own.background),
            self.ids,
        )


def served_set(
    name: str, digest: str, definition: Definition, embeddings: PartEmbeddings | None, model: ServedModel
) -> ServedSet:
    """Make the served set of a definition. `embeddings`: of all its parts; None: it has trained weights."""
    loo, truncated = None, list[str]()
    if embeddings is None:
        classifier = trained_classifier(definition)
    else:
        names = definition.names
        texts, joined = embeddings.rows[: len(names)], embeddings.rows[: len(names)].copy()
        ends = np.cumsum([len(label.examples) for label in definition.labels])
        examples = np.split(embeddings.rows[len(names) :], ends[:-1])
        for k, of_label in enumerate(examples):
            joined[k] = with_examples(joined[k], of_label, definition.example_weight)
        classifier = ZeroShotClassifier(names, joined, model.manifest.scoring)
        loo = leave_one_out(texts, examples, joined, definition.example_weight)
        truncated = [name for name, cut in zip(names, embeddings.truncated, strict=False) if cut]
    return ServedSet(
        name,
        digest,
        version_of(digest, model.fingerprint),
        definition,
        classifier,
        tuple(truncated),
        loo,
        _ids(definition),
        _thresholds(definition),
    )


def _ids(definition: Definition) -> tuple[str | None, ...]:
    ids = tuple(each.id for each in definition.labels)
    return ids if any(ids) else ()


def _thresholds(definition: Definition) -> FloatArray | None:
    general = definition.threshold
    own = [general if each.threshold is None else each.threshold for each in definition.labels]
    if not any(each is not None for each in own):
        return None
    return np.array([-np.inf if each is None else each for each in own], np.float32)
