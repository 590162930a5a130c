"""The one seam between the service and whatever computes the vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # [N, S, S, 3]
TokenIds = npt.NDArray[np.int32]  # [N, L]
Lengths = npt.NDArray[np.int32]  # [N]
Embeddings = npt.NDArray[np.float32]  # [N, D], rows of unit length
Vector = npt.NDArray[np.float32]  # [D], one of them


class Backend(Protocol):
    """Two encoders. A call may be cancelled at any time; others are not touched by it.

    Every method may raise `BackendUnavailable` (not started, or not reachable) and `BackendFailed` (it ran, and
    went wrong). Rows of the answer are in the order of the rows of the call.
    """

    @property
    def engine(self) -> str:
        """A word for what computes; known once it has started."""

    @property
    def precision(self) -> str | None:
        """What it computes in where that is narrower than the artifact's precision; known once it has started."""

    @property
    def text_buckets(self) -> Sequence[int]:
        """Lengths that texts are padded to, where they are below the context length; known once it has started."""

    async def start(self) -> None:
        """Load or connect. Called once, before anything else; raises when it can never work."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        """uint8 [N, S, S, 3] -> float32 [N, D]."""

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        """int32 [N, L], int32 [N] -> float32 [N, D]."""

    async def ready(self) -> bool:
        """Whether a call made now would be served."""

    async def aclose(self) -> None:
        """End what `start` began. Calls still running fail with `BackendUnavailable`."""
