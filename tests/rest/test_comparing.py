"""The endpoints /similarity and /tokenize, types of vectors, and the expected fingerprint."""

from __future__ import annotations

import base64
import io
from typing import Any, get_args

import numpy as np
import pytest

from clipserve.api.requests import EmbeddingType
from tests.support import DIM, Running, png


async def test_similarity_takes_all_three_forms(running: Running) -> None:
    encoded = [base64.b64encode(png(seed)).decode() for seed in (1, 2)]
    body = {"images": encoded[:1], "texts": ["a"], "to_images": encoded[1:], "to_texts": ["b"]}
    as_json = (await running.client.post("/similarity", json=body)).json()
    files: list[tuple[str, Any]] = [
        ("image", ("a", png(1))),
        ("to_image", ("b", png(2))),
        ("text", (None, "a")),
        ("to_text", (None, "b")),
    ]
    as_form = (await running.client.post("/similarity", files=files)).json()
    assert as_form == as_json
    assert [(len(r["cosine"]), len(r["logit"])) for r in as_json["results"]] == [(2, 2)] * 2
    raw = await running.client.post(
        "/similarity?to_texts=b", content=png(1), headers={"Content-Type": "image/png"}
    )
    assert raw.json()["results"][0]["cosine"] == as_json["results"][0]["cosine"][1:]


async def test_only_similarity_has_images_to_compare_with(running: Running) -> None:
    for path in ("/embed", "/classify", "/tokenize"):
        answer = await running.client.post(path, json={"to_images": [], "texts": ["a"], "labels": ["a"]})
        assert answer.status_code == 400
        assert "to_images: no such field" in answer.json()["detail"]


async def test_tokenize_answers_ids_and_pieces(running: Running) -> None:
    answer = (await running.client.post("/tokenize", json={"texts": ["ab"]})).json()
    assert answer["results"] == [
        {"ids": [1, 97, 98, 2], "pieces": ["<start>", "a", "b", "<end>"], "tokens": 4, "truncated": False}
    ]
    assert answer["context_length"] == 12


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


async def test_a_fingerprint_is_expected_in_a_field_or_a_header(running: Running) -> None:
    fingerprint = (await running.embed(text="a")).json()["fingerprint"]
    asked = {"texts": ["a"]}
    for path, body in (
        ("/embed", asked),
        ("/tokenize", asked),
        ("/similarity", asked | {"to_texts": ["b"]}),
        ("/classify", {"images": [base64.b64encode(png()).decode()], "labels": ["a"]}),
    ):
        for expected, status in ((fingerprint, 200), ("toy@fp32-old", 409)):
            by_field = await running.client.post(path, json=body | {"expect_fingerprint": expected})
            by_header = await running.client.post(path, json=body, headers={"X-Expect-Fingerprint": expected})
            assert (by_field.status_code, by_header.status_code) == (status, status)
        problem = by_field.json()
        assert problem["code"] == "wrong_fingerprint"
        assert fingerprint in problem["detail"]
        assert "toy@fp32-old" in problem["detail"]
