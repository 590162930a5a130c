"""A label set in a gateway: the version that requests use, and the state of the build of the wanted one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from clipserve.api.requests import ClassifyRequest
from clipserve.application.label_sets.definition import Definition, Former, Record, no_cosines, version_of
from clipserve.application.ranking import Ranking
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import LeaveOneOut, leave_one_out, with_examples
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier, linear_classifier
from clipserve.errors import ClipError, LabelSetFailed, LabelSetNotReady

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)
Rows = npt.NDArray[Any]  # of `row_type`

RETRY_SECONDS = 5.0


def row_type(dim: int) -> np.dtype[Any]:
    """Of a row of a set's embeddings: for each name the mean of its prompts, and whether one of them was cut; then
    for each example its vector.
    """
    return np.dtype([("vector", "<f4", (dim,)), ("truncated", "?")])


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

    @classmethod
    def of(cls, name: str, of: Record | Former, rows: Rows, model: ServedModel) -> ServedSet:
        """Of a definition and its embeddings, [n]; trained weights have none."""
        definition, names, loo = of.definition, of.definition.names, None
        truncated = tuple(name for name, row in zip(names, rows, strict=False) if row["truncated"])
        if definition.weights is not None:
            biases = np.array(definition.biases or [0.0] * len(names), np.float32)
            classifier = linear_classifier(names, definition.matrix, biases)
        else:
            vectors = np.ascontiguousarray(rows["vector"])
            texts, weight = vectors[: len(names)], definition.example_weight
            ends = np.cumsum([len(label.examples) for label in definition.labels])
            examples: Sequence[FloatArray] = np.split(vectors[len(names) :], ends[:-1])
            joined = texts.copy()
            for k, of_label in enumerate(examples):
                joined[k] = with_examples(joined[k], of_label, weight)
            classifier = ZeroShotClassifier(names, joined, model.manifest.scoring)
            loo = leave_one_out(texts, examples, joined, weight)
        ids = tuple(label.id for label in definition.labels)
        own = [
            definition.threshold if each.threshold is None else each.threshold for each in definition.labels
        ]
        limits = np.array([-np.inf if limit is None else limit for limit in own], np.float32)
        return cls(
            name, of.digest, version_of(of.digest, model.fingerprint), definition, classifier, truncated, loo,
            ids if any(ids) else (), None if own.count(None) == len(own) else limits,
        )  # fmt: skip

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


@dataclass
class LabelSet:
    """The wanted record of a name, and the state of its build.

    Attributes:
        read_only: whether it comes from a file that people write.
        served: the set that requests use, an older version during a build; None: there is none yet.
        done: of `prompts`, those that this gateway has encoded.
        failure: why the last try to build it failed. `final`: whether another would fail too.
        paid: rows of its build that are charged.
    """

    name: str
    model: ServedModel
    record: Record
    read_only: bool
    served: ServedSet | None = None
    done: int = 0
    failure: ClipError | None = None
    final: bool = False
    paid: int = 0
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.definition, self.fingerprint = self.record.definition, self.model.fingerprint
        self.version = version_of(self.record.digest, self.fingerprint)
        self.prompts = self.definition.prompt_count  # once: it looks at each label

    @property
    def built(self) -> ServedSet | None:
        """The served set, if it is of `version`."""
        return self.served if self.served_version == self.version else None

    @property
    def served_version(self) -> str | None:
        return self.served.version if self.served else None

    @property
    def state(self) -> State:
        if self.built:
            return "ready"
        return "failed" if self.failure else "building"

    @property
    def prompts_done(self) -> int:
        return self.prompts if self.built else self.done

    @property
    def error(self) -> str | None:
        return self.failure.detail if self.failure else None

    @property
    def payer(self) -> str | None:
        """The SHA-256 of the key that pays for the build; None: it is free."""
        return self.record.payer if self.record.pays_for == self.version else None

    def is_still(self, record: Record) -> bool:
        """Whether this record changes nothing: its definition is served or on its way.

        It changes something if another key has put an unfinished set again, or if one that has failed is put again.
        """
        if self.built or record.digest != self.record.digest:
            return record.digest == self.record.digest
        return record.put == self.record.put if self.final else record.payer == self.record.payer

    def serve(self, served: ServedSet) -> None:
        """Serve this version from now on."""
        self.served, self.failure = served, None

    def not_ready(self) -> LabelSetNotReady | LabelSetFailed:
        """The error of a request for this set while no version is served."""
        if self.failure and self.final:
            return LabelSetFailed(f"{self.name} cannot be built: {self.error}")
        why = f" Its build has failed so far: {self.error}" if self.error else ""
        return LabelSetNotReady(
            f"{self.name} is being built: {self.prompts_done:,} of {self.prompts:,} prompts are encoded.{why} "
            "Try again later.",
            retry_after=RETRY_SECONDS,
        )
