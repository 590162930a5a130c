"""POST /rerank in the shapes of Jina, Cohere, vLLM and Text Embeddings Inference."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, URIS
from tests.support import Running

TEXTS = ["a cat", "a dog", "a car"]


async def cosines(running: Running, **body: Any) -> list[float]:
    answer = await running.client.post("/similarity", json=body)
    (result,) = answer.json()["results"]
    return list(result["cosine"])


async def post(running: Running, path: str = "/rerank", **body: Any) -> Any:
    answer = await running.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_come_best_first_with_their_cosines(running: Running, path: str) -> None:
    documents = [TEXTS[0], {"image": IMAGES[0]}, {"text": TEXTS[1]}, URIS[1]]
    answer = await post(running, path, model="toy", query="two cats", documents=documents)
    expected = await cosines(running, texts=["two cats"], to_images=IMAGES, to_texts=TEXTS[:2])
    in_order = [expected[place] for place in (2, 0, 3, 1)]
    assert {each["index"]: each["relevance_score"] for each in answer["results"]} == dict(enumerate(in_order))
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["model"] == "toy"


async def test_the_query_may_be_an_image(running: Running) -> None:
    documents = [{"image": IMAGES[1]}, *TEXTS]
    answer = await post(running, query={"image": IMAGES[0]}, documents=documents)
    expected = await cosines(running, images=IMAGES[:1], to_images=IMAGES[1:], to_texts=TEXTS)
    assert {each["index"]: each["relevance_score"] for each in answer["results"]} == dict(enumerate(expected))


async def test_the_best_alone_with_its_text(running: Running) -> None:
    every = await cosines(running, texts=["cats"], to_texts=TEXTS)
    best = int(np.argmax(every))
    answer = await post(running, query="cats", documents=TEXTS, top_n=1, return_documents=True)
    assert answer["results"] == [
        {"index": best, "relevance_score": every[best], "document": {"text": TEXTS[best]}}
    ]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"query": "a cat"}, 400, "documents must be a list"),
        ({"query": "a cat", "documents": []}, 400, "documents is empty"),
        ({"documents": ["a cat"]}, 400, "query must be a text"),
        ({"query": "a cat", "documents": ["a dog", 7]}, 400, r"documents\[1\] must be a text"),
        ({"query": "a cat", "documents": ["x", {"image": "aGVsbG8="}]}, 415, r"documents\[1\]"),
        ({"query": "a cat", "documents": ["cat " * 900], "truncate": False}, 400, r"documents\[0\]"),
        ({"query": "cat " * 900, "documents": ["x"], "truncate": False}, 400, "query"),
    ],
)
async def test_an_error_names_the_query_or_the_document(
    running: Running, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = await running.client.post("/rerank", json=fields)
    assert answer.status_code == status, answer.text
    assert re.search(message, answer.json()["detail"])
