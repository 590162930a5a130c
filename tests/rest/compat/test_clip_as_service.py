"""POST /post, as the clients of clip-as-service send it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, TEXTS, URIS, vectors_of
from tests.support import Running


async def post(running: Running, data: Any, endpoint: Any = "/", **others: Any) -> httpx.Response:
    return await running.client.post("/post", json={"data": data, "execEndpoint": endpoint} | others)


@pytest.mark.parametrize("endpoint", ["/", "/encode", "/encode/toy", None])
async def test_documents_come_back_with_their_embeddings(running: Running, endpoint: str | None) -> None:
    data = [{"id": "x", "text": "a cat"}, {"blob": IMAGES[0]}, {"uri": URIS[1], "text": ""}]
    image, other, text = await vectors_of(running, *IMAGES, texts=["a cat"])
    for sent in (data, {"docs": data}):
        given = (await post(running, sent, endpoint)).json()["data"]
        assert [set(each) - {"embedding"} for each in given] == [{"id", "text"}, set(), set()]
        embeddings = [document["embedding"] for document in given]
        np.testing.assert_array_equal(np.array(embeddings, np.float32), [text, image, other])


async def test_a_text_that_was_cut_is_tagged(running: Running) -> None:
    short, long = (await post(running, [{"text": "a"}, {"text": "a" * 50}])).json()["data"]
    assert "tags" not in short
    assert long["tags"] == {"truncated": True}


async def test_matches_are_ranked_each_among_those_of_its_document(running: Running) -> None:
    data = [
        {"text": "q", "matches": [{"blob": IMAGES[0], "id": "i"}, {"text": "a cat", "id": "t"}]},
        {"blob": IMAGES[1], "matches": [{"text": text, "id": text} for text in (*TEXTS, "x")]},
    ]
    first, second = (await post(running, data, "/rank")).json()["data"]
    compare = {"images": [IMAGES[1]], "texts": ["q"], "to_images": [IMAGES[0]]}
    compared = await running.client.post("/similarity", json=compare | {"to_texts": ["a cat", *TEXTS, "x"]})
    own_image, own_text = compared.json()["results"]
    for document, ids, cosines, logits in (
        (first, ["i", "t"], own_text["cosine"][:2], own_text["logit"][:2]),
        (second, [*TEXTS, "x"], own_image["cosine"][2:], own_image["logit"][2:]),
    ):
        scores = np.exp(logits) / np.exp(logits).sum()
        given = {match["id"]: match["scores"] for match in document["matches"]}
        assert [match["id"] for match in document["matches"]] == [ids[k] for k in np.argsort(-scores)]
        for key, cosine, score in zip(ids, cosines, scores, strict=True):
            assert given[key]["clip_score_cosine"]["value"] == pytest.approx(cosine)
            assert given[key]["clip_score"]["value"] == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize(
    ("data", "endpoint", "said"),
    [
        (None, "/", "data must be a list"),
        ([], "/", "nothing to embed"),
        (["a"], "/", "data[0] must be a document"),
        ([{"tensor": [1]}], "/", "data[0] must be a document"),
        ([{"text": "a"}], "/rank", "data[0].matches must be a list"),
        ([{"text": "a", "matches": []}], "/rank", "nothing to compare with"),
        ([{"text": "a", "matches": [{}]}], "/rank", "data[0].matches[0] must be a document"),
        ([{"text": "a"}], "/search", "execEndpoint must be"),
        ([{"text": "a"}], "/encode/other", "Served: toy."),
        ([{"text": "a"}, {"uri": "/etc/passwd"}], "/", "data[1]: image 0 is not valid base64"),
        ([{"text": "a"}, {"uri": "http://a/b"}], "/", "data[1]: image 0 is a URL"),
        ([{"blob": IMAGES[0][:80], "matches": [{"text": "a"}]}], "/rank", "broken"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    running: Running, data: Any, endpoint: str, said: str
) -> None:
    answer = await post(running, data, endpoint)
    assert answer.is_client_error
    assert said in answer.json()["detail"]
