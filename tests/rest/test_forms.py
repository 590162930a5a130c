"""The three forms of a request give the same answer; results come as asked."""

from __future__ import annotations

import base64

import pytest

from tests.support import DIM, Running, png

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
