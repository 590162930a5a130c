"""POST /models/{model}, as Hugging Face's clients send it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.manifest import TextSpec
from loadtests.fake_backend import FakeBackend
from tests.rest.compat.test_openai import IMAGES, URIS
from tests.support import DIM, TEXT, Running, serving, write_toy_artifact


@pytest.mark.parametrize("image", [IMAGES[0], URIS[0]])
@pytest.mark.parametrize("template", [None, "a {}", "{} or {}"])
async def test_labels_are_those_of_classify(tmp_path: Path, image: str, template: str | None) -> None:
    text = TextSpec(**TEXT.model_dump() | {"context_length": 40})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    labels = ["x", "y", "z"]
    parameters: dict[str, Any] = {"candidate_labels": labels, "hypothesis_template": template}
    native = {"images": [image], "labels": labels, "templates": [template or "This is a photo of {}."]}
    async with serving(FakeBackend(DIM), toy) as running:
        answer = await running.client.post("/models/toy", json={"inputs": image, "parameters": parameters})
        (expected,) = (await running.client.post("/classify", json=native)).json()["results"]
    assert answer.json() == [{"label": each["label"], "score": each["score"]} for each in expected["labels"]]
    scores = [each["score"] for each in answer.json()]
    assert scores == sorted(scores, reverse=True)


SHORT = {"candidate_labels": ["a"], "hypothesis_template": "{}"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/models/toy", {"inputs": IMAGES[0]}, 400, "parameters: Field required"),
        ("/models/toy", {"inputs": IMAGES[0], "parameters": {}}, 400, "candidate_labels: Field required"),
        ("/models/toy", {"inputs": "!", "parameters": SHORT}, 422, "not valid base64"),
        ("/models/toy", {"inputs": "http://a", "parameters": SHORT}, 422, "is a URL"),
        (
            "/models/toy",
            {"inputs": "aaaa", "parameters": {"candidate_labels": ["a"] * 9_999}},
            413,
            "9,999 labels",
        ),
    ],
)
async def test_an_error_is_where_the_client_reads_it(
    running: Running, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    answer = await running.client.post(path, json=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]
