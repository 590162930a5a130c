"""What fewer bytes do to a search: of the ten images nearest to one, how many does each type of vectors find?

Photos are cut into five parts each, all parts are embedded, and each part looks for its ten nearest among the
others: by cosine, or by the number of equal bits. What float32 finds is right.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from loadtests.process import Server

TYPES = ("float32", "float16", "int8", "binary", "ubinary")
_NEAREST = 10
_AT_ONCE = 16  # images in a request
_CUTS = ((0, 0, 0.6, 0.6), (0.4, 0, 1, 0.6), (0, 0.4, 0.6, 1), (0.4, 0.4, 1, 1), (0.2, 0.2, 0.8, 0.8))

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recall:
    """`bytes`: of a vector. `recall`: share of the ten nearest by float32 that are found, mean over all images."""

    embedding_type: str
    bytes: int
    recall: float


def recall(server: Server, photos: Sequence[Path], report: Callable[[str], None]) -> list[Recall]:
    """For each type."""
    parts = [part for photo in photos for part in cut(photo)]
    report(f"  {len(parts)} parts of {len(photos)} photos")
    results, right = [], None
    for embedding_type in TYPES:
        array = np.concatenate(list(_embedded(server.url, parts, embedding_type)))  # [N, D] or [N, D / 8]
        nearest = _nearest(_comparable(array, embedding_type))
        right = nearest if right is None else right
        found = [len(np.intersect1d(a, b)) / _NEAREST for a, b in zip(nearest, right, strict=True)]
        results.append(Recall(embedding_type, array[0].nbytes, float(np.mean(found))))
    return results


def cut(photo: Path) -> Iterator[bytes]:
    """Five parts of a photo that overlap, as JPEGs: its corners and its centre."""
    with Image.open(photo) as image:
        width, height = image.size
        for left, top, right, bottom in _CUTS:
            part = image.convert("RGB").crop(
                (int(left * width), int(top * height), int(right * width), int(bottom * height))
            )
            file = io.BytesIO()
            part.save(file, "JPEG", quality=95)
            yield file.getvalue()


def _embedded(url: str, images: Sequence[bytes], embedding_type: str) -> Iterator[npt.NDArray[np.generic]]:
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, len(images), _AT_ONCE):
            files = [("image", ("part.jpg", image)) for image in images[start : start + _AT_ONCE]]
            answer = client.post(
                "/embed",
                files=files,
                data={"embedding_type": embedding_type},
                headers={"Accept": "application/x-npy"},
            )
            answer.raise_for_status()
            yield np.load(io.BytesIO(answer.content))


def _comparable(array: npt.NDArray[np.generic], embedding_type: str) -> Floats:
    """Rows of length 1 whose products order them as their type does: of bits, by how many are equal."""
    values = array
    if embedding_type == "binary":
        values = (array.astype(np.int16) + 128).astype(np.uint8)
    if "binary" in embedding_type:
        values = np.unpackbits(values.astype(np.uint8), axis=1).astype(np.float32) * 2 - 1
    floats = values.astype(np.float32)
    return np.asarray(floats / np.linalg.norm(floats, axis=1, keepdims=True))


def _nearest(rows: Floats) -> npt.NDArray[np.intp]:
    similar = rows @ rows.T  # [N, N]
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :_NEAREST]
