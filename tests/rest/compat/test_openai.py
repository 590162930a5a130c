"""POST /v1/embeddings: OpenAI's own client, what others send, and errors as all of them read them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from clipserve.errors import ClipError, kinds
from clipserve.rest.compat.openai import openai_error
from clipserve.rest.errors import problem
from loadtests.fake_backend import FakeBackend
from tests.rest.compat.support import IMAGES, TEXTS, URIS, post, vectors_of
from tests.rest.test_errors import made
from tests.support.service import DIM, Running, serving

if TYPE_CHECKING:  # the tests that use it import it: it takes a second, in each process
    import openai


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    import openai

    async with openai.AsyncOpenAI(api_key="none", base_url=f"{running.url}/v1", max_retries=0) as client:
        yield client


# OpenAI's client.


@pytest.mark.parametrize("how", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
async def test_the_official_client_gets_the_vectors_of_embed(
    running: Running, client: openai.AsyncOpenAI, how: dict[str, Any]
) -> None:
    answer = await client.embeddings.create(model="toy", input=[TEXTS[0], URIS[0], TEXTS[1], URIS[1]], **how)
    images_and_texts = await vectors_of(running, *IMAGES, texts=TEXTS)
    assert [each.index for each in answer.data] == [0, 1, 2, 3]
    for each, expected in zip(answer.data, images_and_texts[[2, 0, 3, 1]], strict=True):
        given: Any = each.embedding
        if isinstance(given, str):  # the client leaves it to a caller who has asked for it
            given = np.frombuffer(base64.b64decode(given), "<f4")
        np.testing.assert_array_equal(np.float32(given), expected)
    tokens = len("a cat") + len("a dog") + 4
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("toy", tokens, tokens)


async def test_the_client_raises_its_own_errors_with_our_codes(client: openai.AsyncOpenAI) -> None:
    import openai

    with pytest.raises(openai.NotFoundError) as missing:
        await client.embeddings.create(model="text-embedding-3-small", input="a")
    assert (missing.value.code, missing.value.param) == ("unknown_model", "model")
    assert "Served: toy." in missing.value.message
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as long:
        await client.embeddings.create(model="toy", input=["a", URIS[0], "a" * 50])
    assert (long.value.code, long.value.param) == ("text_too_long", "input")
    assert "input[2]: text 1 has 52 tokens" in long.value.message
    cut = await client.embeddings.create(model="toy", input="a" * 50, extra_body={"truncate": True})
    assert cut.usage.prompt_tokens == 52
    with pytest.raises(openai.UnprocessableEntityError) as broken:
        await client.embeddings.create(model="toy", input=[*TEXTS, URIS[0], URIS[1][:80]])
    assert broken.value.message.startswith("Error code: 422 - input[3]: ")


# What else is an item.

IMAGE = {"type": "image_url", "image_url": {"url": URIS[0]}}
TEXT = {"type": "text", "text": "a cat"}
SYSTEM = {"role": "system", "content": [TEXT]}


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ({"input": "a cat"}, ["a cat"]),
        ({"input": ["a cat", "a cat"]}, ["a cat", "a cat"]),
        ({"input": URIS[0]}, [IMAGES[0]]),
        ({"input": IMAGES, "modality": "image"}, IMAGES),
        ({"input": [URIS[0], "a cat"], "modality": "text"}, [IMAGES[0], "a cat"]),
        ({"input": [{"text": "a cat"}, {"image": IMAGES[0]}, {"image": URIS[1]}]}, ["a cat", *IMAGES]),
        ({"input": [IMAGE]}, [IMAGES[0]]),
        ({"input": {"text": URIS[0][:9]}}, [URIS[0][:9]]),
        ({"input": ["http://a/b", "data: I", "data:,"]}, ["http://a/b", "data: I", "data:,"]),
        ({"input": ""}, [""]),
        ({"messages": [{"role": "user", "content": [TEXT]}]}, ["a cat"]),
        ({"messages": [{"content": [TEXT | {"text": ""}, IMAGE]}]}, [IMAGES[0]]),
        ({"messages": [SYSTEM, {"role": "user", "content": [IMAGE]}]}, [IMAGES[0]]),
        ({"input": "a", "encoding_format": None, "user": 5, "timeout": 3, "input_type": "query"}, ["a"]),
        ({"input": "a cat", "dimensions": DIM, "normalized": True, "model": None}, ["a cat"]),
    ],
)
async def test_each_form_of_an_item_is_understood(
    running: Running, body: dict[str, Any], order: list[str]
) -> None:
    answer = await running.client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model-fingerprint"].startswith("toy@fp32-")
    given = [np.float32(each["embedding"]) for each in answer.json()["data"]]
    for vector, item in zip(given, order, strict=True):
        images, texts = ([item], []) if item in IMAGES else ([], [item])
        np.testing.assert_array_equal([vector], await vectors_of(running, *images, texts=texts))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.code)
def test_each_error_has_the_status_and_the_code_that_it_has_elsewhere(kind: type[ClipError]) -> None:
    error = made(kind)
    ours, theirs = problem(error, "id"), openai_error(error, "id")
    told = orjson.loads(theirs.body)["error"]
    assert (theirs.media_type, set(told)) == ("application/json", {"message", "type", "param", "code"})
    assert (theirs.status_code, told["code"], told["message"]) == (ours.status_code, kind.code, "x")
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    expected = "server_error" if ours.status_code >= 500 else "invalid_request_error"
    assert told["type"] == types.get(ours.status_code, expected)
    for name in ("retry-after", "www-authenticate"):
        assert theirs.headers.get(name) == ours.headers.get(name)


async def test_the_routes_of_openai_are_there_only_where_they_are_switched_on(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, compat=()) as running:
        answer = await running.client.post("/v1/embeddings", json={"input": "a"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "/v1/embeddings" not in (await running.client.get("/openapi.json")).json()["paths"]


async def test_an_alias_means_its_model_everywhere(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, Path(f"text-embedding-3-small={toy}")) as running:
        for name in ("toy", "text-embedding-3-small"):
            assert (await post(running, "/v1/embeddings", input="a", model=name))["model"] == "toy"
            assert (await post(running, "/embed", texts=["a"], model=name))["model"] == "toy"
