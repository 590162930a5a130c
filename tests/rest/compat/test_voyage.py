"""POST /v1/multimodalembeddings, and what Voyage's client sends to /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.rest.compat.test_openai import TEXTS, URIS, post, vectors_in, vectors_of
from tests.support import DIM, Running

INPUTS = [
    {"content": [{"type": "text", "text": TEXTS[0]}]},
    {"content": [{"type": "image_base64", "image_base64": URIS[0]}]},
    {"content": [{"type": "image_url", "image_url": URIS[1]}]},
]


@pytest.mark.parametrize("encoding", [None, "base64"])
async def test_inputs_get_the_vectors_of_embed(running: Running, encoding: str | None) -> None:
    body = {"inputs": INPUTS, "model": "toy", "input_type": "document", "output_encoding": encoding}
    answer = (await running.client.post("/v1/multimodalembeddings", json=body)).json()
    given = [each["embedding"] for each in answer["data"]]
    if encoding:
        given = [np.frombuffer(base64.b64decode(each), "<f4") for each in given]
    images = [uri.partition(",")[2] for uri in URIS]
    expected = (await vectors_of(running, *images, texts=TEXTS[:1]))[[2, 0, 1]]
    np.testing.assert_array_equal(np.array(given, np.float32), expected)
    assert answer["usage"]["total_tokens"] == len(TEXTS[0]) + 2


async def test_a_long_text_is_cut_unless_truncation_is_false(running: Running) -> None:
    inputs = [{"content": [{"type": "text", "text": "cat " * 900}]}]
    for truncation, status in (({}, 200), ({"truncation": False}, 400)):
        body = {"inputs": inputs} | truncation
        answer = await running.client.post("/v1/multimodalembeddings", json=body)
        assert answer.status_code == status
    assert answer.json()["detail"].startswith("inputs[0]: text 0 has ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": [{"content": []}]}, "inputs"),
        ({"inputs": [{"content": [*INPUTS[0]["content"], *INPUTS[1]["content"]]}]}, "one vector is asked"),
        ({"inputs": [{"content": [{"content": [{"text": "a"}]}]}]}, "must be a text"),
        ({"inputs": [{"content": [{"type": "video_url", "video_url": "x"}]}]}, "must be a text"),
        ({"inputs": INPUTS, "output_dtype": "int8"}, "output_dtype"),
    ],
)
async def test_what_would_change_a_vector_is_refused(
    running: Running, fields: dict[str, Any], message: str
) -> None:
    answer = await running.client.post("/v1/multimodalembeddings", json=fields)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["detail"]


async def test_texts_of_its_client_go_to_openai_s_path(running: Running) -> None:
    long = await post(
        running, input=["cat " * 900], truncation=True, output_dimension=DIM, input_type="query"
    )
    assert vectors_in(long).shape == (1, DIM)
    for refused in ({"truncation": False}, {"output_dimension": 7}, {"output_dtype": "int8"}):
        assert (
            await post(running, input=["cat " * 900], **({"truncation": True} | refused))
        ).status_code == 400
