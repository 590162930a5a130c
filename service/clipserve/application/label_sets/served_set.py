"""A label set that is ready: its classifier, and the ranking of a request with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipserve.api.requests import ClassifyRequest
from clipserve.application.label_sets.definition import Definition, no_cosines, version_of
from clipserve.application.label_sets.parts import PartEmbeddings
from clipserve.application.ranking import Ranking
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import LeaveOneOut, leave_one_out, with_examples
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier, linear_classifier


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
        definition = self.definition
        if definition.weights is not None and asked.scoring == "cosine":
            raise no_cosines(self.name)
        return Ranking(
            asked.scoring or definition.scoring,
            asked.temperature or definition.temperature or 1.0,
            self.thresholds if asked.threshold is None else asked.threshold,
            asked.top_k,
            len(definition.background),
            self.ids,
        )


def served_set(
    name: str, digest: str, definition: Definition, parts: Sequence[PartEmbeddings], model: ServedModel
) -> ServedSet:
    """Make the served set of a definition. `parts`: the embeddings of all its parts; trained weights have none."""
    loo, truncated = None, list[str]()
    if not parts:
        biases = np.array(definition.biases or [0.0] * len(definition.labels), np.float32)
        classifier = linear_classifier(definition.names, definition.matrix, biases)
    else:
        names, rows = definition.names, np.concatenate([part.rows for part in parts])
        texts, joined = rows[: len(names)], rows[: len(names)].copy()
        ends = np.cumsum([len(label.examples) for label in definition.labels])
        examples = np.split(rows[len(names) :], ends[:-1])
        for k, of_label in enumerate(examples):
            joined[k] = with_examples(joined[k], of_label, definition.example_weight)
        classifier = ZeroShotClassifier(names, joined, model.manifest.scoring)
        loo = leave_one_out(texts, examples, joined, definition.example_weight)
        cut = np.concatenate([part.truncated for part in parts])
        truncated = [name for name, is_cut in zip(names, cut, strict=False) if is_cut]
    ids = tuple(label.id for label in definition.labels)
    thresholds = [
        definition.threshold if label.threshold is None else label.threshold for label in definition.labels
    ]
    return ServedSet(
        name,
        digest,
        version_of(digest, model.fingerprint),
        definition,
        classifier,
        tuple(truncated),
        loo,
        ids if any(ids) else (),
        None
        if thresholds.count(None) == len(thresholds)
        else np.array([-np.inf if limit is None else limit for limit in thresholds], np.float32),
    )
