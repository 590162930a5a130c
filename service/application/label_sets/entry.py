"""One label set as a gateway has it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal, get_args

from service.application.label_sets.building import Wanted
from service.application.label_sets.definition import Definition
from service.application.label_sets.records import Weights
from service.application.label_sets.served_set import ServedSet, served_set
from service.application.served_model import ServedModel
from service.errors import ClipError

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)


@dataclass
class Entry:
    """One label set here.

    Attributes:
        served: what requests get; None: nothing yet.
        prompts, done: of `version`, to be encoded and encoded.
        error: why it is not built, so far.
        final: trying again would change nothing.
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

    @property
    def read_only(self) -> bool:
        return self.wanted.images is not None

    def set_of(self, digest: str, definition: Definition, weights: Weights | None) -> ServedSet | None:
        """Of this name and model; None: the weights are not those of this definition."""
        shape = (len(definition.names), self.model.manifest.embed_dim)
        if definition.model != self.model.name or weights is None or weights.texts.shape != shape:
            return None
        scoring = self.model.manifest.scoring
        return served_set(self.wanted.name, digest, self.model.fingerprint, definition, weights, scoring)
