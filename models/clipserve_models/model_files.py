"""What files say of a model: the record between the readers of layouts and the builder of artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from clipserve.clip.manifest import ImageSpec, ScoringSpec, TextSpec
from clipserve_models.architecture import Activation, Architecture
from clipserve_models.tensors import Tensor

Triple = tuple[float, float, float]  # of red, green, blue


@dataclass(frozen=True)
class UserFacts:
    """What the user says of a model; None: its files say it. `architecture`: of a file, its name in open_clip."""

    architecture: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    activation: Activation | None = None


NOTHING = UserFacts()


@dataclass(frozen=True)
class Checkpoint:
    """One model. `tensors`: by role (`clipserve_models.roles`), read when asked.

    `mean`, `std`: an image's values are (pixel / 255 - mean) / std. `files`: all that were read.
    """

    architecture: Architecture
    tensors: Mapping[str, Tensor]
    image: ImageSpec
    mean: Triple
    std: Triple
    text: TextSpec
    tokenizer: tokenizers.Tokenizer
    scoring: ScoringSpec
    files: tuple[Path, ...]
