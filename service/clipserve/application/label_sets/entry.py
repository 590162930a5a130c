"""The state of one label set in a gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal, get_args

from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.paying import Account
from clipserve.application.label_sets.records import Pointer, Weights
from clipserve.application.label_sets.served_set import ServedSet, served_set
from clipserve.application.served_model import ServedModel
from clipserve.errors import ClipError, LabelSetFailed, LabelSetNotReady

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)

_RETRY_SECONDS = 5.0  # where there is no progress to measure by


@dataclass
class LabelSet:
    """The wanted definition of a name, and the state of its build.

    Attributes:
        digest, version: of `definition`; empty: the stored definition is unreadable.
        pointer: the pointer in the store; None: the set comes from a file.
        images: the examples of a file, by their SHA-256; None: they are in the store.
        served: the set that requests use, an older version during a build; None: there is none yet.
        prompts, prompts_done: the number of prompts of `version`, and of those that are encoded.
        failure: why the last build failed. `final`: whether a retry would fail too.
        elsewhere: whether another gateway builds it.
        account: the rows of its build that are charged.
    """

    name: str
    model: ServedModel
    digest: str
    definition: Definition
    pointer: Pointer | None = None
    images: Mapping[str, bytes] | None = None
    served: ServedSet | None = None
    done: int = 0
    failure: ClipError | None = None
    final: bool = False
    elsewhere: bool = False
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    account: Account = field(default_factory=Account)
    version: str = field(init=False)
    prompts: int = field(init=False)

    def __post_init__(self) -> None:
        self.version = version_of(self.digest, self.fingerprint) if self.digest else ""
        self.prompts = self.definition.prompt_count()  # once: it looks at each label

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def dim(self) -> int:
        return self.model.manifest.embed_dim

    @property
    def read_only(self) -> bool:
        """Whether the set comes from a file."""
        return self.images is not None

    @property
    def built(self) -> ServedSet | None:
        """The served set, if it is of `version`."""
        return self.served if self.served and self.served.version == self.version else None

    @property
    def ready(self) -> bool:
        return self.built is not None

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
    def retry_after(self) -> float:
        """The estimated seconds until the set is built, from its progress."""
        if not self.done:
            return _RETRY_SECONDS
        return max(1.0, (time.monotonic() - self.began) / self.done * (self.prompts - self.done))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the definition, for people."""
        own, labels = self.definition, self.definition.labels
        with_examples = sum(bool(each.examples) for each in labels)
        odd = []
        if own.example_weight and 0 < with_examples < len(labels):
            odd.append(
                f"{with_examples} of {len(labels)} labels have examples. An image is more similar to images "
                "than to texts, so these labels have higher scores: give examples to all, or to none."
            )
        if own.example_weight and with_examples and own.background:
            odd.append(
                "background labels have no examples, and so have lower scores than labels with examples: use a "
                "threshold in place of them."
            )
        return tuple(odd)

    @property
    def payer(self) -> str | None:
        """The SHA-256 of the key that pays for the build; None: it is free."""
        return self.pointer.payer if self.pointer and self.pointer.pays_for == self.version else None

    def is_settled(self, digest: str, pointer: Pointer | None) -> bool:
        """Whether this is the wanted set, served or on its way. `pointer`: None: the set comes from a file.

        It is not if another key has put an unfinished set again, or if one that has failed for good is put again.
        """
        begun = self.ready or self.final or self.task
        if self.digest != digest or self.read_only != (pointer is None) or not begun:
            return False
        decides = attrgetter("put" if self.final else "payer")
        return self.ready or not pointer or not self.pointer or decides(pointer) == decides(self.pointer)

    def encoded(self, weights: Weights | None) -> None:
        """Record how far the build is."""
        self.done = self.definition.prompt_count(len(weights.texts)) if weights else 0

    async def serve(self, digest: str, definition: Definition, weights: Weights | None = None) -> None:
        """Serve this definition from now on, if `weights` has all its embeddings, or if its own fit."""
        complete = weights is not None and len(weights.texts) == len(definition.names)
        if complete if definition.weights is None else definition.fits(self.fingerprint):
            self.served = await asyncio.to_thread(
                served_set, self.name, digest, definition, weights, self.model
            )
            self.failure = None if self.ready else self.failure

    def fail(self, error: ClipError, *, final: bool) -> None:
        """Record why the build failed. `final`: whether a retry would fail too."""
        # Its frames, and those of what it came from, hold what was to be written.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.failure, self.final = error, final

    def not_ready(self) -> LabelSetNotReady | LabelSetFailed:
        """The error of a request for this set while no version is served."""
        if self.failure and self.final:
            return LabelSetFailed(f"{self.name} cannot be built: {self.error}")
        why = f" Its build has failed so far: {self.error}" if self.error else ""
        return LabelSetNotReady(
            f"{self.name} is being built: {self.done:,} of {self.prompts:,} prompts are encoded.{why} "
            "Try again later.",
            retry_after=self.retry_after,
        )
