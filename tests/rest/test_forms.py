"""The three forms of a request give the same answer; results come as asked."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest

from tests.support import CONTEXT, DIM, Running, png

B64 = base64.b64encode(png(1)).decode()


async def test_multipart_raw_and_json_classify_alike(running: Running) -> None:
    image = png(1)
    labels = ["cat", "dog", "car"]
    answers = [
        await running.classify(image, labels=labels),
        await running.client.post(
            "/classify", params={"labels": labels}, content=image, headers={"content-type": "image/png"}
        ),
        await running.client.post("/classify", json={"images": [B64], "labels": labels}),
        await running.client.post(
            "/classify", json={"images": [f"data:image/png;base64,{B64}"], "labels": labels}
        ),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    bodies = [answer.json() for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    scored = bodies[0]["results"][0]["labels"]
    assert {entry["label"] for entry in scored} == set(labels)
    assert [entry["score"] for entry in scored] == sorted((entry["score"] for entry in scored), reverse=True)
    assert sum(entry["score"] for entry in scored) == pytest.approx(1, abs=1e-5)
    assert bodies[0]["model"] == "toy"
    assert bodies[0]["fingerprint"].startswith("toy@fp32-")


async def test_embed_gives_images_first_then_texts(running: Running) -> None:
    both = (await running.embed(png(1), png(2), text=["cat", "dog"])).json()["results"]
    alone = [
        (await running.embed(png(1))).json()["results"][0],
        (await running.embed(png(2))).json()["results"][0],
        (await running.embed(text="cat")).json()["results"][0],
        (await running.embed(text="dog")).json()["results"][0],
    ]
    assert both == alone
    assert all(len(result["embedding"]) == DIM for result in both)
    assert [result.get("tokens") for result in both] == [None, None, 5, 5]


async def test_vectors_come_as_floats_base64_or_npy(running: Running) -> None:
    body: dict[str, Any] = {"images": [B64], "texts": ["cat"]}
    floats = (await running.client.post("/embed", json=body)).json()["results"]
    base = (await running.client.post("/embed", json=body | {"encoding_format": "base64"})).json()["results"]
    array = await running.client.post("/embed", json=body, headers={"accept": "application/x-npy"})
    assert array.headers["content-type"] == "application/x-npy"
    assert array.headers["x-model-fingerprint"].startswith("toy@")
    vectors = np.load(io.BytesIO(array.content))
    assert (vectors.shape, vectors.dtype) == ((2, DIM), np.float32)
    for row in range(2):
        np.testing.assert_array_equal(np.float32(floats[row]["embedding"]), vectors[row])
        np.testing.assert_array_equal(
            np.frombuffer(base64.b64decode(base[row]["embedding"]), "<f4"), vectors[row]
        )


async def test_one_bad_image_spoils_no_other(running: Running) -> None:
    answer = await running.classify(png(1), b"GIF89a nothing", png(2)[:200], png(3))
    assert answer.status_code == 200
    good, gif, cut, also_good = answer.json()["results"]
    assert "labels" in good
    assert "labels" in also_good
    assert (gif["error"]["code"], gif["error"]["index"]) == ("unsupported_format", 1)
    assert (cut["error"]["code"], cut["error"]["index"]) == ("undecodable_image", 2)


async def test_bad_base64_is_an_error_of_its_item_too(running: Running) -> None:
    answer = await running.client.post("/embed", json={"images": [B64, "@@@", "data:text/plain,hi", B64]})
    results = answer.json()["results"]
    assert [("error" in result) for result in results] == [False, True, True, False]
    assert results[0] == results[3]


async def test_when_every_image_is_bad_the_request_is(running: Running) -> None:
    answer = await running.classify(b"no", b"nothing")
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_format"


async def test_an_array_has_no_place_for_an_error(running: Running) -> None:
    body = {"images": [B64, "@@@"]}
    answer = await running.client.post("/embed", json=body, headers={"accept": "application/x-npy"})
    assert (answer.status_code, answer.json()["code"], answer.json()["index"]) == (
        422,
        "undecodable_image",
        1,
    )


async def test_too_many_tokens_are_refused_by_index_or_cut_and_reported(running: Running) -> None:
    long = "x" * CONTEXT
    refused = await running.embed(text=["short", long])
    assert (refused.status_code, refused.json()["code"], refused.json()["index"]) == (400, "text_too_long", 1)
    assert (refused.json()["limit"], refused.json()["actual"]) == (CONTEXT, CONTEXT + 2)
    cut = (await running.embed(text=["short", long], truncate="true")).json()["results"]
    assert [result["truncated"] for result in cut] == [False, True]
    assert cut[1]["tokens"] == CONTEXT + 2

    refused = await running.classify(png(), labels=["a", long])
    assert (refused.status_code, refused.json()["index"]) == (400, 1)
    cut_labels = await running.classify(png(), labels=["a", long], truncate="true")
    assert cut_labels.json()["truncated_labels"] == [long]
    assert "truncated_labels" not in (await running.classify(png(), labels=["a", "b"])).json()
    assert (await running.classify(png(), labels=["a", long])).status_code == 400, "truncation was remembered"


async def test_top_k_and_templates(running: Running) -> None:
    one = (await running.classify(png(), labels=["a", "b", "c"], top_k=2)).json()["results"][0]["labels"]
    assert len(one) == 2
    plain = (await running.classify(png(), labels=["a", "b"], template="{}")).json()
    filled = (await running.classify(png(), labels=["a", "b"], template=["x {}", "{} y"])).json()
    assert plain == (await running.classify(png(), labels=["a", "b"])).json()
    assert plain != filled


async def test_texts_are_trimmed_to_buckets_and_answered_in_order(running: Running) -> None:
    texts = ["abcdefgh", "a", "abcdefghi", "ab", "abc"]
    together = (await running.embed(text=texts)).json()["results"]
    for text, result in zip(texts, together, strict=True):
        assert (await running.embed(text=text)).json()["results"][0] == result


async def test_the_answer_carries_a_request_id_and_stage_times(running: Running) -> None:
    answer = await running.client.post("/embed", json={"texts": ["cat"]}, headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert "encode_text;dur=" in answer.headers["server-timing"]
    strange = await running.client.post(
        "/embed", json={"texts": ["cat"]}, headers={"x-request-id": "a b<script>"}
    )
    assert len(strange.headers["x-request-id"]) == 32


async def test_models_and_probes(running: Running) -> None:
    listed = (await running.client.get("/v1/models")).json()["data"]
    assert [(model["id"], model["ready"], model["embed_dim"]) for model in listed] == [("toy", True, DIM)]
    assert (await running.client.get("/livez")).status_code == 200
    assert (await running.client.get("/readyz")).status_code == 200
    assert (await running.client.get("/docs")).status_code == 200
    described = (await running.client.get("/openapi.json")).json()["paths"]["/classify"]["post"]
    assert set(described["requestBody"]["content"]) == {"multipart/form-data", "application/json", "image/*"}
