"""One label set as a gateway has it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from clipserve.application.label_sets.building import Wanted
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.paying import Account
from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.served_set import ServedSet, served_set
from clipserve.application.served_model import ServedModel
from clipserve.errors import ClipError, LabelSetFailed, LabelSetNotReady

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)

UNREADABLE = ""  # the version of a set whose rows in the store are damaged
_RETRY_SECONDS = 5.0  # where there is no progress to measure by


@dataclass
class Entry:
    """One label set here.

    Attributes:
        served: what requests get; None: nothing yet.
        prompts, done: of `version`, to be encoded and encoded.
        error: why it is not built, so far.
        final: trying again would change nothing.
        account: what of its build is paid.
    """

    wanted: Wanted
    model: ServedModel
    version: str
    served: ServedSet | None = None
    done: int = 0
    error: ClipError | None = None
    final: bool = False
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    account: Account = field(default_factory=Account)
    prompts: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = self.wanted.definition.prompt_count()  # once: it looks at each label

    @property
    def ready(self) -> bool:
        return self.served is not None and self.served.version == self.version

    @property
    def state(self) -> State:
        if self.ready:
            return "ready"
        return "failed" if self.error else "building"

    def fail(self, error: ClipError, *, final: bool) -> None:
        """It is not built, for this reason. `final`: trying again would change nothing."""
        self.error, self.final = error.with_traceback(None), final

    @property
    def payer(self) -> str | None:
        """The SHA-256 of the key that pays for its build; None: nobody does."""
        return self.wanted.payer if self.wanted.pays_for == self.version else None

    @property
    def read_only(self) -> bool:
        return self.wanted.images is not None

    @property
    def retry_after(self) -> float:
        """Seconds until it is built, as far as progress tells."""
        if not self.done:
            return _RETRY_SECONDS
        return max(1.0, (time.monotonic() - self.began) / self.done * (self.prompts - self.done))

    def not_ready(self) -> LabelSetNotReady | LabelSetFailed:
        """Why there is nothing to be served."""
        name = self.wanted.name
        if self.error and self.final:
            return LabelSetFailed(f"{name} cannot be built: {self.error.detail}")
        why = f" Its build has failed so far: {self.error.detail}" if self.error else ""
        return LabelSetNotReady(
            f"{name} is being built: {self.done:,} of {self.prompts:,} prompts are encoded.{why} Try again later.",
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
        return served_set(self.wanted.name, digest, self.model.fingerprint, definition, weights, scoring)


def unreadable(name: str, model: ServedModel, served: ServedSet | None) -> Entry:
    """A set whose rows in the store are damaged: it has failed. `served`: what was loaded of it before."""
    entry = Entry(Wanted(name, "", Definition(model.name, (), ())), model, UNREADABLE, served)
    entry.fail(ClipError("what is stored of it cannot be read: put it again, or delete it."), final=True)
    return entry
