"""Items to rows of a file, with encoders that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clipserve.api.requests import ClassifyRequest
from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.methods import AsyncMethods
from clipserve.client.results import Embedded, Labelled, ServedBy, Tokenized
from clipserve.commands.vectors.listing import VectorSource, images, texts
from clipserve.commands.vectors.making import make_file
from tests.commands.vectors.support import DIM, MODEL
from tests.support import png


@dataclass
class Half(AsyncMethods):
    """One encoder works."""

    images: bool
    in_flight = 2

    async def served_by(self) -> ServedBy:
        return MODEL

    async def label_sets(self) -> list[str]:
        raise NotImplementedError

    async def embed_image(self, image: bytes) -> Embedded:
        return self._embedded(self.images)

    async def embed_text(self, text: str, *, truncate: bool) -> Embedded:
        return self._embedded(not self.images)

    async def classify_image(self, image: bytes, question: ClassifyRequest) -> Labelled:
        raise NotImplementedError

    async def tokenize_texts(self, texts: Sequence[str]) -> Tokenized:
        raise NotImplementedError

    def _embedded(self, works: bool) -> Embedded:
        if not works:
            raise ItemFailed("the encoder is broken.", "backend_failed")
        return Embedded(np.eye(1, DIM, dtype=np.float32)[0], MODEL.fingerprint)


@pytest.mark.parametrize("broken", ["image", "text"])
async def test_a_broken_encoder_ends_the_command_although_the_other_one_works(
    broken: str, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(png())
    sources = {
        "image": VectorSource("image", lambda left_out: images([str(tmp_path)], left_out)),
        "text": VectorSource("text", lambda _: texts(["a cat", "a dog"])),
    }
    out = tmp_path / "a.npz"
    with pytest.raises(ClipserveError, match="the encoders fail, whatever they are given"):
        await make_file(Half(broken == "text"), sources[broken], out)
    assert not out.exists()
    (works,) = {*sources} - {broken}
    made = await make_file(Half(broken == "text"), sources[works], tmp_path / "b.npz")
    assert (made.failed, made.embedded) == (0, made.count)
