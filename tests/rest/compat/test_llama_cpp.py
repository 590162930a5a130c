"""POST /embeddings and GET /props of llama.cpp's server, asked as Frigate asks them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.rest.compat.test_openai import IMAGES, error_in, vectors_of
from tests.support import Running


class Frigate:
    """Asks as `LlamaCppClient` of Frigate does: the model of /v1/models, the marker of /props, then vectors."""

    def __init__(self, running: Running) -> None:
        self._client = running.client

    async def modalities(self, model: str) -> tuple[bool, str]:
        known = (await self._client.get("/v1/models")).json()["data"]
        assert model in {each["id"] for each in known}
        props = (await self._client.get("/props", params={"model": model})).json()
        return props["modalities"]["vision"], props["media_marker"]

    async def embed(self, model: str, texts: list[str], images: list[str]) -> np.ndarray[Any, Any]:
        _, marker = await self.modalities(model)
        content: list[dict[str, Any]] = [{"prompt_string": text} for text in texts]
        content += [{"prompt_string": f"{marker}\n", "multimodal_data": [image]} for image in images]
        answer = await self._client.post("/embeddings", json={"model": model, "content": content})
        answer.raise_for_status()
        result = answer.json()
        items = result.get("data", result) if isinstance(result, dict) else result
        # A list of vectors of an item is pooled.
        return np.stack([np.array(item["embedding"], np.float32).mean(axis=0).flatten() for item in items])


async def test_frigate_gets_the_vectors_of_embed(running: Running) -> None:
    frigate = Frigate(running)
    assert (await frigate.modalities("toy"))[0]
    given = await frigate.embed("toy", ["a cat", "a dog"], IMAGES)
    images_and_texts = await vectors_of(running, *IMAGES, texts=["a cat", "a dog"])
    np.testing.assert_array_equal(given, images_and_texts[[2, 3, 0, 1]])


@pytest.mark.parametrize(
    "content", ["a cat", ["a cat"], [{"prompt_string": "a cat", "multimodal_data": None}]]
)
async def test_a_text_has_every_form_of_llama_cpp(running: Running, content: Any) -> None:
    answer = await running.client.post("/embeddings", json={"content": content})
    ((vector,),) = [each["embedding"] for each in answer.json()]
    np.testing.assert_array_equal(np.float32(vector), (await vectors_of(running, texts=["a cat"]))[0])
    assert answer.headers["x-model-fingerprint"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 400, "send `content`"),
        ({"input": "a cat"}, 400, "to /v1/embeddings"),
        ({"content": ["a cat"], "embd_normalize": -1}, 400, "embd_normalize"),
        ({"content": ["cat " * 900]}, 400, "content.0."),
        ({"content": ["a"] * 9_999}, 413, "content has 9,999 items"),
        (
            {"content": ["a cat", {"prompt_string": "a cat <__media__>", "multimodal_data": [IMAGES[0]]}]},
            400,
            "content.1..prompt_string must be only the media marker",
        ),
        ({"content": [{"prompt_string": "", "multimodal_data": ["aGVsbG8="]}]}, 415, "content.0."),
        ({"content": [{"prompt_string": "", "multimodal_data": [*IMAGES]}]}, 400, "at most 1 item"),
    ],
)
async def test_what_cannot_be_embedded_is_an_error_that_names_its_place(
    running: Running, fields: dict[str, Any], status: int, message: str
) -> None:
    answer = await running.client.post("/embeddings", json=fields)
    assert answer.status_code == status, answer.text
    assert re.search(message, error_in(answer)["message"])
