"""Answers as JSON, base64 or a NumPy file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from clipserve.api.answers import (
    Embeddings,
)
from clipserve.api.requests import EncodingFormat
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import encoded
from clipserve.errors import UndecodableImage
from clipserve.rest.rendering import embedding_response
from tests.support import Running, png

VECTORS: npt.NDArray[np.float32] = np.arange(12, dtype=np.float32).reshape(3, 4) / np.float32(7)  # [3, D]
TEXT = EncodedText(VECTORS[2], tokens=5, truncated=True)
BROKEN = UndecodableImage("image 1 is broken.", index=1)


def embedded(
    images: list[VectorOrError],
    texts: list[EncodedText],
    encoding_format: EncodingFormat = "float",
    accept: str = "*/*",
) -> Response:
    answer = Embeddings("toy", "toy@fp32-1", encoded(images, texts, "float32"))
    return embedding_response(answer, encoding_format, accept)


def told(response: Response) -> object:
    assert (response.status_code, response.media_type) == (200, "application/json")
    return orjson.loads(response.body)


def test_vectors_are_numbers_that_are_exact_in_float32() -> None:
    body = told(embedded([VECTORS[0], BROKEN], [TEXT]))
    assert isinstance(body, dict)
    assert (body["model"], body["fingerprint"]) == ("toy", "toy@fp32-1")
    image, error, text = body["results"]
    np.testing.assert_array_equal(np.float32(image.pop("embedding")), VECTORS[0])
    np.testing.assert_array_equal(np.float32(text.pop("embedding")), VECTORS[2])
    assert image == {}
    assert error == {"error": {"code": "undecodable_image", "detail": "image 1 is broken.", "index": 1}}
    assert text == {"tokens": 5, "truncated": True}


async def test_an_array_is_given_to_whoever_accepts_it_and_an_image_s_error_is_the_request_s(
    running: Running,
) -> None:
    async def embed(*images: bytes, accept: str) -> Response:
        files = [("image", image) for image in images]
        return await running.client.post("/embed", files=files, headers={"accept": accept})  # type: ignore[return-value]

    for accept in ("application/x-npy", "application/x-npy, */*;q=0.5"):
        good = await embed(png(1), png(2), accept=accept)
        assert good.headers["content-type"] == "application/x-npy"
        assert good.headers["x-model-fingerprint"].startswith("toy@")
        bad = await embed(png(1), png(2)[:200], accept=accept)
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")
    assert (await embed(png(1), accept="*/*")).headers["content-type"] == "application/json"
