"""POST /predict and GET /ping, as immich sends them to its machine-learning server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, vectors_of
from tests.support import Running, png

VISUAL = {"clip": {"visual": {"modelName": "toy"}}}
TEXTUAL = {"clip": {"textual": {"modelName": "toy", "options": {"language": "en"}}}}


async def predict(running: Running, entries: Any, **parts: Any) -> httpx.Response:
    files: dict[str, Any] = {"entries": (None, json.dumps(entries))}
    for name, part in parts.items():
        files[name] = ("blob", part) if isinstance(part, bytes) else (None, part)
    return await running.client.post("/predict", files=files)


async def test_a_vector_comes_as_a_list_in_a_string(running: Running) -> None:
    image = await predict(running, VISUAL, image=png(1))
    text = await predict(running, TEXTUAL, text="a cat")
    for answer, expected in zip(
        (image, text), await vectors_of(running, IMAGES[0], texts=["a cat"]), strict=True
    ):
        np.testing.assert_array_equal(np.float32(json.loads(answer.json()["clip"])), expected)


async def test_json_is_refused(running: Running) -> None:
    sent = {"entries": json.dumps(TEXTUAL), "texts": [5]}
    answer = await running.client.post("/predict", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_ping_is_answered(running: Running) -> None:
    answer = await running.client.get("/ping")
    assert (answer.status_code, answer.text) == (200, "pong")


@pytest.mark.parametrize(
    ("entries", "parts", "said"),
    [
        (VISUAL, {}, "the form has 0 images and 0 texts"),
        (TEXTUAL, {"image": png(1)}, "one vector of textual content alone, and the form has 1 images"),
        (VISUAL, {"image": png(1), "text": "a"}, "the form has 1 images and 1 texts"),
        ({"facial-recognition": {}}, {"image": png(1)}, "Faces and OCR are not served"),
        ({"clip": {}}, {"image": png(1)}, "entries must be JSON"),
        (["clip"] * 9_999, {"image": png(1)}, "of at most 4,096 characters"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    running: Running, entries: Any, parts: dict[str, Any], said: str
) -> None:
    answer = await predict(running, entries, **parts)
    assert answer.is_client_error
    assert said in answer.json()["detail"]
