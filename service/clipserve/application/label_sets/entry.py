"""One label set as a gateway has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.paying import Account
from clipserve.application.label_sets.records import Pointer, Weights
from clipserve.application.label_sets.served_set import ServedSet, served_set
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import LeaveOneOut
from clipserve.errors import ClipError, LabelSetFailed, LabelSetNotReady

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)

CANNOT_BE_READ = "what is stored of it cannot be read: put it again, or delete it."

_RETRY_SECONDS = 5.0  # where there is no progress to measure by


@dataclass(frozen=True)
class Wanted:
    """A definition that a name is to have.

    `pointer`: what the store says of it; None: it comes from a file. `images`: its examples then, by their SHA-256.
    """

    name: str
    digest: str
    definition: Definition
    pointer: Pointer | None = None
    images: Mapping[str, bytes] | None = None


@dataclass
class LabelSet:
    """One label set here.

    Attributes:
        version: that of `definition`; empty: what is stored of it cannot be read.
        served: what requests get, which is an older version while the set is built; None: nothing yet.
        prompts, prompts_done: of `version`, to be encoded, and encoded.
        failure: why it is not built, so far. `final`: trying again would change nothing.
        account: what of its build is paid.
    """

    wanted: Wanted
    model: ServedModel
    served: ServedSet | None = None
    done: int = 0
    failure: ClipError | None = None
    final: bool = False
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    account: Account = field(default_factory=Account)
    version: str = field(init=False)
    prompts: int = field(init=False)

    def __post_init__(self) -> None:
        digest = self.wanted.digest
        self.version = version_of(digest, self.fingerprint) if digest else ""
        self.prompts = self.definition.prompt_count()  # once: it looks at each label

    @property
    def name(self) -> str:
        return self.wanted.name

    @property
    def definition(self) -> Definition:
        return self.wanted.definition

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def read_only(self) -> bool:
        """Whether it comes from a file."""
        return self.wanted.images is not None

    @property
    def ready(self) -> bool:
        return self.served is not None and self.served.version == self.version

    @property
    def state(self) -> State:
        if self.ready:
            return "ready"
        return "failed" if self.failure else "building"

    @property
    def prompts_done(self) -> int:
        return self.prompts if self.ready else self.done

    @property
    def served_version(self) -> str | None:
        return self.served.version if self.served else None

    @property
    def error(self) -> str | None:
        return self.failure.detail if self.failure else None

    @property
    def truncated_labels(self) -> tuple[str, ...]:
        """Of `version`, once it is built."""
        return self.served.truncated if self.served and self.ready else ()

    @property
    def loo(self) -> LeaveOneOut | None:
        """Of `version`, once it is built."""
        return self.served.loo if self.served and self.ready else None

    @property
    def retry_after(self) -> float:
        """Seconds until it is built, as far as progress tells."""
        if not self.done:
            return _RETRY_SECONDS
        return max(1.0, (time.monotonic() - self.began) / self.done * (self.prompts - self.done))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the definition, for people."""
        labels = self.definition.labels
        with_examples = sum(bool(each.examples) for each in labels)
        if self.definition.example_weight and 0 < with_examples < len(labels):
            return (
                f"{with_examples} of {len(labels)} labels have examples. An image is more alike to images "
                "than to texts, so that these labels have higher scores: give examples to all, or to none.",
            )
        return ()

    @property
    def payer(self) -> str | None:
        """The SHA-256 of the key that pays for its build; None: nobody does."""
        pointer = self.wanted.pointer
        return pointer.payer if pointer and pointer.pays_for == self.version else None

    def is_settled(self, digest: str, pointer: Pointer | None) -> bool:
        """Whether there is nothing to do for this definition, or it is being done. `pointer`: None: of a file.

        One that is put again by another key is built for that one, and one that has failed for good is tried again.
        """
        before = self.wanted.pointer
        if self.wanted.digest != digest or self.read_only != (pointer is None):
            return False
        is_built_for = self.task is not None and (before and before.payer) == (pointer and pointer.payer)
        has_failed = self.final and (before and before.put) == (pointer and pointer.put)
        return self.ready or is_built_for or has_failed

    def fail(self, error: ClipError, *, final: bool) -> None:
        """It is not built, for this reason. `final`: trying again would change nothing."""
        # Its frames, and those of what it came from, hold what was to be written.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.failure, self.final = error, final

    def not_ready(self) -> LabelSetNotReady | LabelSetFailed:
        """Why there is nothing to be served."""
        if self.failure and self.final:
            return LabelSetFailed(f"{self.name} cannot be built: {self.error}")
        why = f" Its build has failed so far: {self.error}" if self.error else ""
        return LabelSetNotReady(
            f"{self.name} is being built: {self.done:,} of {self.prompts:,} prompts are encoded.{why} "
            "Try again later.",
            retry_after=self.retry_after,
        )

    def set_of(self, digest: str, definition: Definition, weights: Weights | None) -> ServedSet | None:
        """Of this name and model; None: the weights are not those of this definition."""
        if definition.model != self.model.name or weights is None:
            return None
        whole = len(weights.texts) == len(definition.names)
        if not (whole and weights.fit(definition, self.model.manifest.embed_dim)):
            return None
        scoring = self.model.manifest.scoring
        return served_set(self.name, digest, self.fingerprint, definition, weights, scoring)


def unreadable(name: str, model: ServedModel, served: ServedSet | None) -> LabelSet:
    """A set whose rows in the store are damaged: it has failed. `served`: what was loaded of it before."""
    label_set = LabelSet(Wanted(name, "", Definition(model=model.name, labels=[])), model, served)
    label_set.fail(ClipError(CANNOT_BE_READ), final=True)
    return label_set
