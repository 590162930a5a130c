"""Items to rows of a file, with encoders that fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clipserve.commands.clips.clip import CannotGoOn, Classified, EmbeddedImage, ItemFailed, Question
from clipserve.commands.vectors.embedding import Options
from clipserve.commands.vectors.listing import images, texts
from clipserve.commands.vectors.making import VectorSource, make_file
from clipserve.engine.backend import Vector
from tests.commands.vectors.support import DIM, MODEL
from tests.support import png


@dataclass
class Half:
    """A `Clip` with one encoder that works."""

    images: bool
    served_by = MODEL
    in_flight = 2

    async def embed_image(self, image: bytes) -> EmbeddedImage:
        return EmbeddedImage(self._vector(self.images), (1, 1))

    async def embed_text(self, text: str, *, truncate: bool) -> Vector:
        return self._vector(not self.images)

    async def classify(self, image: bytes, question: Question) -> Classified:
        raise NotImplementedError

    def _vector(self, works: bool) -> Vector:
        if not works:
            raise ItemFailed("backend_failed", "the encoder is broken.")
        vector: Vector = np.eye(1, DIM, dtype=np.float32)[0]
        return vector


@pytest.mark.parametrize("broken", ["image", "text"])
async def test_a_broken_encoder_ends_the_command_although_the_other_one_works(
    broken: str, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(png())
    sources = {
        "image": VectorSource("image", lambda: images([str(tmp_path)])),
        "text": VectorSource("text", lambda: texts(["a cat", "a dog"])),
    }
    out = tmp_path / "a.npz"
    with pytest.raises(CannotGoOn, match="the encoders fail, whatever they are given"):
        await make_file(Half(broken == "text"), sources[broken], out, Options(), restart=False, prune=False)
    assert not out.exists()
    (works,) = {*sources} - {broken}
    made = await make_file(
        Half(broken == "text"), sources[works], tmp_path / "b.npz", Options(), restart=False, prune=False
    )
    assert (made.failed, made.embedded) == (0, made.count)
