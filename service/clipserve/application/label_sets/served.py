"""A label set in a gateway: the version that requests use, and the state of the build of the wanted one."""

from __future__ import annotations

import asyncio
import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clipserve.api.requests import ClassifyRequest
from clipserve.api.sets import State
from clipserve.application.label_sets.definition import Definition, Record
from clipserve.application.ranking import Ranking
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import with_examples
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier
from clipserve.errors import LabelSetFailed, LabelSetNotReady

RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class ServedSet:
    """A built label set."""

    name: str
    version: str
    definition: Definition
    classifier: ZeroShotClassifier

    @classmethod
    def of(cls, name: str, definition: Definition, stored: bytes, model: ServedModel) -> ServedSet:
        """Of a definition and its stored embeddings: a file of NumPy, float32 [n, D].

        They are of each name the mean of its prompts, then of each example its vector. Raises ValueError: they are
        not of this definition, or damaged.
        """
        names, shape = definition.names, (definition.rows, model.manifest.embed_dim)
        joined, examples = np.split(_array(stored, shape), [len(names)])
        for k, label in enumerate(definition.labels):
            own, examples = np.split(examples, [len(label.examples)])
            joined[k] = with_examples(joined[k], own, definition.example_weight)
        classifier = ZeroShotClassifier(names, joined, model.manifest.scoring)
        return cls(name, definition.version(model.fingerprint), definition, classifier)

    @cached_property
    def thresholds(self) -> FloatArray:
        """Of each label, [K]; -inf: none."""
        common, labels = self.definition.threshold, self.definition.labels
        limits = [common if label.threshold is None else label.threshold for label in labels]
        return np.array([-np.inf if limit is None else limit for limit in limits], np.float32)

    @cached_property
    def ids(self) -> tuple[str | None, ...]:
        """Of each label, [K]; empty: no label has one."""
        ids = tuple(label.id for label in self.definition.labels)
        return ids if any(ids) else ()

    def ranking(self, asked: ClassifyRequest) -> Ranking:
        """The ranking of a request. Its options take precedence over those of the set."""
        definition = self.definition
        return Ranking(
            asked.scoring or definition.scoring,
            asked.temperature or definition.temperature or 1.0,
            self.thresholds if asked.threshold is None else asked.threshold,
            asked.top_k,
            len(definition.background),
            self.ids,
        )


def _array(stored: bytes, shape: tuple[int, int]) -> FloatArray:
    file, kind = io.BytesIO(stored), np.dtype("<f4")
    np.lib.format.read_magic(file)
    if np.lib.format.read_array_header_1_0(file) != (shape, False, kind):  # before memory for it is taken
        raise ValueError("no embeddings of this set")
    return np.frombuffer(stored, kind, math.prod(shape), file.tell()).reshape(shape).copy()


@dataclass
class LabelSet:
    """The wanted record of a name, and the state of its build.

    Attributes:
        served: the set that requests use, an older version during a build; None: there is none yet.
        done: of `prompts`, those that are encoded.
        error: why the last try to build it failed.
        task: of its build; None: it has ended.
    """

    name: str
    model: ServedModel
    record: Record
    served: ServedSet | None = None
    done: int = 0
    error: str | None = None
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.definition, self.fingerprint = self.record.definition, self.model.fingerprint
        self.version = self.definition.version(self.fingerprint)
        self.prompts = self.definition.prompt_count  # once: it looks at each label

    @property
    def built(self) -> bool:
        """Whether `version` is served."""
        return self.served_version == self.version

    @property
    def served_version(self) -> str | None:
        return self.served.version if self.served else None

    @property
    def state(self) -> State:
        if self.built:
            return "ready"
        return "failed" if self.error else "building"

    def file(self, definition: Definition) -> str:
        """The name of the embeddings of a definition, for this model."""
        return f"{self.name}.{definition.digest}.{definition.version(self.fingerprint)}.npy"

    def serve(self, definition: Definition, stored: bytes) -> None:
        """Serve a definition with its embeddings from now on. Raises ValueError: see `ServedSet.of`."""
        self.served, self.error = ServedSet.of(self.name, definition, stored, self.model), None
        self.done = self.prompts if self.built else 0

    def not_ready(self) -> LabelSetNotReady | LabelSetFailed:
        """The error of a request for this set while no version is served."""
        if self.error and not self.task:
            return LabelSetFailed(f"{self.name} cannot be built: {self.error}")
        why = f" Its build has failed so far: {self.error}" if self.error else ""
        return LabelSetNotReady(
            f"{self.name} is being built: {self.done:,} of {self.prompts:,} prompts are encoded.{why} "
            "Try again later.",
            retry_after=RETRY_SECONDS,
        )
