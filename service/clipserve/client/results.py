"""The results of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from clipserve.api.answers import LabelScore
from clipserve.client.errors import ItemFailed

FloatRows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ServedBy:
    """The model that answers. Vectors of two fingerprints cannot be compared."""

    model: str
    fingerprint: str
    embed_dim: int
    logit_scale: float = 1.0
    logit_bias: float = 0.0


@dataclass(frozen=True)
class Embedded:
    vector: FloatRows  # [D], of unit length
    fingerprint: str


@dataclass(frozen=True)
class Labelled:
    """The labels of one image, best first. `warnings`: for people."""

    labels: Sequence[LabelScore]
    fingerprint: str
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Embeddings:
    """A row for each item, in the order given: `vectors`, float32 [N, D], of unit length; NaN where an item failed.

    `errors`: of the failed items, by position. Vectors of another `fingerprint` cannot be compared with these.
    """

    vectors: FloatRows
    fingerprint: str
    errors: dict[int, ItemFailed] = field(default_factory=dict)


@dataclass(frozen=True)
class Classified:
    """The labels of each image, best first, in the order given; a failed image has none.

    A label has `label`, `score`, `cosine` and `logit`, and `id` if its label set has one. `errors`: of the failed
    images, by position. `warnings`: about the labels and the scoring of the request, for people.
    """

    labels: list[Sequence[LabelScore]]
    fingerprint: str
    errors: dict[int, ItemFailed] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
