"""The interface between the service and the encoders."""

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
    """Two encoders. A call may be cancelled at any time; this does not affect other calls.

    Every method may raise `BackendUnavailable` (not started, or not reachable) and `BackendFailed` (the computation
    failed). The rows of an answer have the order of the rows of the call.

    Attributes, known after `start`, and after the end:
        engine: the engine's name.
        precision: if it is narrower than the artifact's; else None.
        text_buckets: the lengths below the context length to which texts are padded.
    """

    @property
    def engine(self) -> str: ...

    @property
    def precision(self) -> str | None: ...

    @property
    def text_buckets(self) -> Sequence[int]: ...

    async def start(self) -> None:
        """Load the engine or connect to it. Called once, before all else. Raises if the backend can never work."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        """uint8 [N, S, S, 3] -> float32 [N, D]."""

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        """int32 [N, L], int32 [N] -> float32 [N, D]."""

    async def ready(self) -> bool:
        """Whether a call made now would succeed."""

    async def aclose(self) -> None:
        """Stop the backend. Calls in flight fail with `BackendUnavailable`."""


class Around:
    """A backend around another one, `inner`, whose facts are its own."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    @property
    def engine(self) -> str:
        return self._inner.engine

    @property
    def precision(self) -> str | None:
        return self._inner.precision

    @property
    def text_buckets(self) -> Sequence[int]:
        return self._inner.text_buckets
