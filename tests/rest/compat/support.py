"""What the tests of all adapters send, and the vectors that they expect."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.service import Running, png

IMAGES = [base64.b64encode(png(seed)).decode() for seed in (1, 2)]
URIS = [f"data:image/png;base64,{image}" for image in IMAGES]
TEXTS = ["a cat", "a dog"]


async def vectors_of(running: Running, *images: str, texts: Sequence[str] = ()) -> np.ndarray[Any, Any]:
    """What /embed gives, to the last bit: images first."""
    body = {"images": images, "texts": texts, "encoding_format": "base64"}
    results = (await running.client.post("/embed", json=body)).json()["results"]
    return np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in results])


async def post(running: Running, path: str, **body: Any) -> Any:
    """The answer to a request that is answered."""
    answer = await running.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
