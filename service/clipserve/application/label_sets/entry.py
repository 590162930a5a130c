"""The state of one label set in a gateway."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.served_set import ServedSet
from clipserve.application.label_sets.shelf import Pointer
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
        served: the set that requests use, an older version during a build; None: there is none yet.
        prompts, prompts_done: the number of prompts of `version`, and of those that are encoded.
        failure: why the last build failed. `final`: whether a retry would fail too.
    """

    name: str
    model: ServedModel
    digest: str
    definition: Definition
    pointer: Pointer | None
    served: ServedSet | None = None
    done: int = 0
    failure: ClipError | None = None
    final: bool = False
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    version: str = field(init=False)
    prompts: int = field(init=False)

    def __post_init__(self) -> None:
        self.version = version_of(self.digest, self.fingerprint) if self.digest else ""
        self.prompts = sum(self.definition.prompt_counts())  # once: it looks at each label

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def read_only(self) -> bool:
        """Whether the set comes from a file."""
        return self.pointer is None

    @property
    def built(self) -> ServedSet | None:
        """The served set, if it is of `version`."""
        return self.served if self.served and self.served.version == self.version else None

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
    def retry_after(self) -> float:
        """The estimated seconds until the set is built, from its progress."""
        if not self.done:
            return _RETRY_SECONDS
        return max(1.0, (time.monotonic() - self.began) / self.done * (self.prompts - self.done))

    @property
    def payer(self) -> str | None:
        """The SHA-256 of the key that pays for the build; None: it is free."""
        return self.pointer.payer if self.pointer and self.pointer.pays_for == self.version else None

    def is_fresh(self, seconds: float) -> bool:
        """Whether this version was put that recently, here or at another gateway. Clocks may differ."""
        pointer = self.pointer
        return bool(pointer and pointer.pays_for == self.version and 0 <= time.time() - pointer.put < seconds)

    def is_wanted(self, digest: str, pointer: Pointer | None) -> bool:
        """Whether it is what this pointer names, and served or on its way. `pointer`: None: a file has it.

        It is not if another key has put an unfinished set again, or if one that has failed for good is put again.
        """
        begun = self.built or self.final or self.task
        if self.digest != digest or self.read_only != (pointer is None) or not begun:
            return False
        if self.built or not pointer or not self.pointer:
            return True
        return pointer.put == self.pointer.put if self.final else pointer.payer == self.pointer.payer

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
