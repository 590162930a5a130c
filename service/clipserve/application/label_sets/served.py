"""A label set in a gateway: the version that requests use, and the state of the build of the wanted one."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from clipserve.api.requests import ClassifyRequest
from clipserve.application.label_sets.definition import Definition, Former, Record, version_of
from clipserve.application.ranking import Ranking
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import with_examples
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier
from clipserve.errors import ClipError, LabelSetFailed, LabelSetNotReady

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)

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
        ids: of each label, [K]; empty: no label has one.
        thresholds: of each label, [K]; None: no label has one.
    """

    name: str
    digest: str
    version: str
    definition: Definition
    classifier: ZeroShotClassifier
    truncated: tuple[str, ...]
    ids: tuple[str | None, ...]
    thresholds: FloatArray | None

    @classmethod
    def of(cls, name: str, of: Record | Former, stored: bytes, model: ServedModel) -> ServedSet:
        """Of a definition and its stored embeddings. Raises ValueError."""
        definition, names = of.definition, of.definition.names
        rows = _rows(stored, definition, model.manifest.embed_dim)  # [n]
        truncated = tuple(name for name, row in zip(names, rows, strict=False) if row["truncated"])
        joined, examples = np.split(rows["vector"].copy(), [len(names)])
        for k, label in enumerate(definition.labels):
            own, examples = np.split(examples, [len(label.examples)])
            joined[k] = with_examples(joined[k], own, definition.example_weight)
        classifier = ZeroShotClassifier(names, joined, model.manifest.scoring)
        ids = tuple(label.id for label in definition.labels)
        limits = [
            definition.threshold if each.threshold is None else each.threshold for each in definition.labels
        ]
        some = np.array([-np.inf if limit is None else limit for limit in limits], np.float32)
        version, thresholds = (
            version_of(of.digest, model.fingerprint),
            some if np.isfinite(some).any() else None,
        )
        return cls(
            name, of.digest, version, definition, classifier, truncated, ids if any(ids) else (), thresholds
        )

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


def _rows(stored: bytes, definition: Definition, dim: int) -> npt.NDArray[Any]:
    row, count, file = row_type(dim), definition.rows, io.BytesIO(stored)
    np.lib.format.read_magic(file)
    if np.lib.format.read_array_header_1_0(file) != ((count,), False, row):  # before memory for it is taken
        raise ValueError("no embeddings of this set")
    return np.frombuffer(stored, row, count, file.tell())


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
        return "failed" if self.failure else "building"

    @property
    def prompts_done(self) -> int:
        return self.prompts if self.built else self.done

    @property
    def error(self) -> str | None:
        return self.failure.detail if self.failure else None

    def file(self, of: Record | Former) -> str:
        """The name of the embeddings of this or the former definition."""
        return f"{self.name}.{of.digest}.{version_of(of.digest, self.fingerprint)}.npy"

    def serve(self, of: Record | Former, stored: bytes) -> None:
        """Serve this or the former definition from now on. Raises ValueError: see `ServedSet.of`."""
        self.served, self.failure = ServedSet.of(self.name, of, stored, self.model), None

    def is_still(self, record: Record) -> bool:
        """Whether this record changes nothing: its definition is served or on its way.

        It changes something if another key has put an unfinished set again, or if one that has failed is put again.
        """
        if self.built or record.digest != self.record.digest:
            return record.digest == self.record.digest
        return record.put == self.record.put if self.final else record.payer == self.record.payer

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
