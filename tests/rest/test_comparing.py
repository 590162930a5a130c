"""The three forms of a request, types of vectors, and the expected fingerprint."""

from __future__ import annotations

import base64
import io
from typing import Any, get_args

import httpx
import numpy as np
import pytest

from clipserve.api.requests import EmbeddingType
from tests.support.service import DIM, Running, png

IMAGE = base64.b64encode(png()).decode()


async def test_multipart_raw_and_json_classify_alike(running: Running) -> None:
    image, encoded = png(1), base64.b64encode(png(1)).decode()
    labels = ["cat", "dog", "car"]
    beside: dict[str, Any] = {"params": {"labels": labels}, "headers": {"content-type": "image/png"}}
    uri = f"data:image/png;base64,{encoded}"
    answers = [
        await running.classify(image, labels=labels),
        await running.client.post("/classify", content=image, **beside),
        await running.client.post("/classify", json={"images": [encoded], "labels": labels}),
        await running.client.post("/classify", json={"images": [uri], "labels": labels}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    bodies = [answer.json() for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert {entry["label"] for entry in bodies[0]["results"][0]["labels"]} == set(labels)
    assert bodies[0]["fingerprint"].startswith("toy@fp32-")


@pytest.mark.parametrize("embedding_type", get_args(EmbeddingType))
async def test_a_type_of_vectors_is_the_same_as_numbers_base64_and_an_array(
    running: Running, embedding_type: str
) -> None:
    body = {"texts": ["a", "b"], "embedding_type": embedding_type}
    numbers = (await running.client.post("/embed", json=body)).json()["results"]
    encoded = (await running.client.post("/embed", json=body | {"encoding_format": "base64"})).json()[
        "results"
    ]
    array = await running.client.post("/embed", json=body, headers={"Accept": "application/x-npy"})
    rows = np.load(io.BytesIO(array.content))
    assert len(rows[0]) == (DIM // 8 if "binary" in embedding_type else DIM)
    for row, number, text in zip(rows, numbers, encoded, strict=True):
        np.testing.assert_array_equal(row, np.asarray(number["embedding"], row.dtype))
        assert base64.b64decode(text["embedding"]) == row.tobytes()
        assert number.get("scale") == text.get("scale")
        assert ("scale" in number) == (embedding_type == "int8")


async def test_an_array_is_given_to_whoever_accepts_it_and_an_image_s_error_is_the_request_s(
    running: Running,
) -> None:
    async def embed(*images: bytes, accept: str) -> httpx.Response:
        files = [("image", image) for image in images]
        return await running.client.post("/embed", files=files, headers={"accept": accept})

    for accept in ("application/x-npy", "application/x-npy, */*;q=0.5"):
        good = await embed(png(1), png(2), accept=accept)
        assert good.headers["content-type"] == "application/x-npy"
        assert good.headers["x-model-fingerprint"].startswith("toy@")
        bad = await embed(png(1), png(2)[:200], accept=accept)
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")
    assert (await embed(png(1), accept="*/*")).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/embed", {"texts": ["a"]}),
        ("POST", "/tokenize", {"texts": ["a"]}),
        ("POST", "/similarity", {"texts": ["a"], "to_texts": ["b"]}),
        ("POST", "/classify", {"images": [IMAGE], "labels": ["a"]}),
        ("POST", "/v1/embeddings", {"input": "a"}),
        ("PUT", "/label-sets/pets", {"labels": ["a"]}),
    ],
)
async def test_a_fingerprint_may_be_expected_in_a_header(
    running: Running, method: str, path: str, body: dict[str, Any]
) -> None:
    (model,) = running.gateway.models.values()
    for expected, status in (("", 200), (model.fingerprint, 200), ("toy@fp32-old", 409)):
        headers = {"X-Expect-Fingerprint": expected}
        answer = await running.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
