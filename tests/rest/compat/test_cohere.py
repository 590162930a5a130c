"""POST /v2/embed, as Cohere's clients send it."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, TEXTS, URIS, vectors_of
from tests.support import DIM, Running


async def post(running: Running, **body: Any) -> httpx.Response:
    return await running.client.post("/v2/embed", json={"model": "toy"} | body)


@pytest.mark.parametrize(
    ("body", "images", "texts"),
    [
        ({"texts": TEXTS, "input_type": "search_query"}, [], TEXTS),
        ({"images": URIS, "input_type": "image"}, IMAGES, []),
        ({"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, [], ["a"]),
        (
            {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": uri}}]} for uri in URIS]},
            IMAGES,
            [],
        ),
    ],
)
async def test_vectors_are_those_of_embed(
    running: Running, body: dict[str, Any], images: list[str], texts: list[str]
) -> None:
    answer = (await post(running, **body)).json()
    expected = await vectors_of(running, *images, texts=texts)
    np.testing.assert_array_equal(np.float32(answer["embeddings"]["float"]), expected)
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["texts"] == texts
    assert answer["meta"]["billed_units"]["images"] == len(images)


async def test_each_type_is_given_beside_the_others(running: Running) -> None:
    types = ["float", "int8", "binary", "ubinary", "base64"]
    answer = await post(running, texts=TEXTS, embedding_types=types)
    assert answer.json()["id"] == answer.headers["x-request-id"]
    given = answer.json()["embeddings"]
    assert list(given) == types
    vectors = await vectors_of(running, texts=TEXTS)
    bits = np.packbits(vectors > 0, axis=1)
    np.testing.assert_array_equal(given["ubinary"], bits)
    np.testing.assert_array_equal(given["binary"], bits.astype(int) - 128)
    assert [base64.b64decode(each) for each in given["base64"]] == [each.tobytes() for each in vectors]
    for row, vector in zip(np.asarray(given["int8"]), vectors, strict=True):
        assert np.abs(row).max() == 127
        np.testing.assert_allclose(row * np.abs(vector).max() / 127, vector, atol=0.01)


async def test_a_long_text_is_cut_and_told_unless_it_shall_not(running: Running) -> None:
    long = ["a", "a" * 50]
    cut = (await post(running, texts=long)).json()
    assert cut["meta"]["warnings"] == ["texts[1] has too many tokens and was cut at its end."]
    assert "warnings" not in (await post(running, texts=["a"])).json()["meta"]
    refused = await post(running, texts=long, truncate="NONE")
    assert (refused.status_code, refused.json()["code"]) == (400, "text_too_long")
    assert refused.json()["detail"].startswith("texts[1]: text 1 has 52 tokens")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "send one of `texts`, `images` and `inputs`"),
        ({"texts": ["a"], "images": URIS}, "send one of"),
        ({"texts": "a"}, "texts must be a list"),
        (
            {"inputs": [{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            "inputs[0].content has 2 texts and images",
        ),
        ({"texts": ["a"], "truncate": "START"}, "truncate: Input should be 'NONE' or 'END'"),
        ({"texts": ["a"], "embedding_types": ["uint8"]}, "embedding_types.0: Input should be"),
        ({"texts": ["a"], "output_dimension": 4}, f"the vectors of toy have {DIM}"),
        ({"images": [URIS[0], "AAAA"]}, "images[1]: "),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    running: Running, body: dict[str, Any], said: str
) -> None:
    answer = await post(running, **body)
    assert answer.is_client_error
    assert said in answer.json()["detail"]
