"""POST /v1/embeddings: OpenAI's own client, what others send, and errors as all of them read them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import orjson
import pytest

from clipserve.errors import ClipError, kinds
from clipserve.rest.compat.openai import openai_error
from clipserve.rest.errors import problem
from loadtests.fake_backend import FakeBackend
from tests.access.support import write_keys
from tests.rest.test_errors import made
from tests.support import DIM, Running, png, serving

if TYPE_CHECKING:  # the tests that use it import it: it takes a second, in each process
    import openai

IMAGES = [base64.b64encode(png(seed)).decode() for seed in (1, 2)]
URIS = [f"data:image/png;base64,{image}" for image in IMAGES]
TEXTS = ["a cat", "a dog"]


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    import openai

    async with openai.AsyncOpenAI(api_key="none", base_url=f"{running.url}/v1", max_retries=0) as client:
        yield client


async def vectors_of(running: Running, *images: str, texts: Sequence[str] = ()) -> np.ndarray[Any, Any]:
    """What /embed gives, to the last bit: images first."""
    body = {"images": images, "texts": texts, "encoding_format": "base64"}
    results = (await running.client.post("/embed", json=body)).json()["results"]
    return np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in results])


async def post(running: Running, **body: Any) -> httpx.Response:
    return await running.client.post("/v1/embeddings", json=body)


def vectors_in(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model-fingerprint"].startswith("toy@fp32-")
    return np.array([each["embedding"] for each in answer.json()["data"]], np.float32)


def error_in(answer: httpx.Response) -> dict[str, Any]:
    (error,) = answer.json().values()
    assert answer.headers["content-type"] == "application/json"
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


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


async def test_the_client_lists_what_may_be_asked(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["toy"]


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


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ({"input": "a cat"}, ["a cat"]),
        ({"input": ["a cat", "a cat"]}, ["a cat", "a cat"]),
        ({"input": URIS[0]}, [IMAGES[0]]),
        ({"input": IMAGES, "modality": "image"}, IMAGES),
        ({"input": [URIS[0], "a cat"], "modality": "text"}, [IMAGES[0], "a cat"]),
        (
            {"input": [{"text": "a cat"}, {"image": IMAGES[0]}, {"image": URIS[1]}, "b"]},
            ["a cat", *IMAGES, "b"],
        ),
        ({"input": [{"type": "image_url", "image_url": {"url": URIS[0]}}]}, [IMAGES[0]]),
        ({"input": {"text": URIS[0][:9]}}, [URIS[0][:9]]),
        ({"input": ["http://a/b", "data: I", "data:,"]}, ["http://a/b", "data: I", "data:,"]),
        ({"input": ""}, [""]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]}, ["a cat"]),
        (
            {
                "messages": [
                    {
                        "content": [
                            {"type": "text", "text": ""},
                            {"type": "image_url", "image_url": {"url": URIS[0]}},
                        ]
                    }
                ]
            },
            [IMAGES[0]],
        ),
        (
            {"input": "a cat", "encoding_format": None, "user": 5, "timeout": 3, "input_type": "query"},
            ["a cat"],
        ),
        ({"input": "a cat", "dimensions": DIM, "normalized": True, "model": None}, ["a cat"]),
    ],
)
async def test_each_form_of_an_item_is_understood(
    running: Running, body: dict[str, Any], order: list[str]
) -> None:
    images = [each for each in order if each in IMAGES]
    texts = [each for each in order if each not in IMAGES]
    expected = iter(await vectors_of(running, *images, texts=texts))
    of_images = [next(expected) for _ in images]
    of_texts = list(expected)
    wanted = [of_images.pop(0) if each in IMAGES else of_texts.pop(0) for each in order]
    np.testing.assert_array_equal(vectors_in(await post(running, **body)), wanted)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "send `input`"),
        ({"input": "a", "messages": []}, "one of the two"),
        ({"input": []}, "nothing to embed"),
        ({"input": 5}, "input[0] must be a text"),
        ({"input": [1, 2]}, "check_embedding_ctx_length=False"),
        ({"input": ["a"] * 5_000}, "input has 5,000 items; the limit is 4,096"),
        ({"input": "a", "dimensions": 8}, f"dimensions is 8; the vectors of toy have {DIM}"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format: Input should be 'float' or 'base64'"),
        ({"input": "a", "normalized": False}, "normalized: Input should be True"),
        ({"messages": "a"}, "messages must be a list"),
        ({"messages": [{"content": "a"}] * 9}, "messages has 9 texts and images"),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, "messages has 2 texts and images"),
        ({"input": ["https://a/b"], "modality": "image"}, "input[0]: image 0 is a URL"),
        (
            {"input": ["a", "https://a.example/b/Cat.JPG?w=2"]},
            "input[1] is the URL of an image: send the image",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    running: Running, body: dict[str, Any], said: str
) -> None:
    answer = await post(running, **body)
    assert answer.is_client_error
    error = error_in(answer)
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"


# Bounds and errors that are not the route's.


async def test_the_api_key_of_a_client_is_the_key_of_the_service(toy: Path, tmp_path: Path) -> None:
    import openai

    key = write_keys(tmp_path / "keys", somebody={})["somebody"]
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as running:
        url = f"{running.url}/v1"
        async with openai.AsyncOpenAI(api_key=key, base_url=url) as client:
            assert (await client.embeddings.create(model="toy", input="a")).data
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.embeddings.create(model="toy", input="a")
        assert (caught.value.code, caught.value.type) == ("unauthenticated", "authentication_error")
        assert caught.value.response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.code)
def test_each_error_has_the_status_and_the_code_that_it_has_elsewhere(kind: type[ClipError]) -> None:
    error = made(kind)
    ours, theirs = problem(error, "id"), openai_error(error, "id")
    told = orjson.loads(theirs.body)["error"]
    assert (theirs.status_code, told["code"], told["message"]) == (ours.status_code, kind.code, "x")
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    expected = "server_error" if ours.status_code >= 500 else "invalid_request_error"
    assert told["type"] == types.get(ours.status_code, expected)
    for name in ("retry-after", "www-authenticate"):
        assert theirs.headers.get(name) == ours.headers.get(name)


async def test_the_routes_of_openai_are_there_only_where_they_are_switched_on(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, compat=()) as running:
        answer = await post(running, input="a")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "/v1/embeddings" not in (await running.client.get("/openapi.json")).json()["paths"]


# What OpenRouter's and Frigate's clients send.


async def test_the_instruction_of_a_system_message_is_ignored(running: Running) -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Represent the user's input."}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URIS[0]}}]},
    ]
    given = vectors_in(await post(running, messages=messages))
    np.testing.assert_array_equal(given, await vectors_of(running, IMAGES[0]))
    assert (await post(running, messages=messages[:1])).status_code == 400


async def test_an_alias_means_its_model_everywhere(toy: Path) -> None:
    names = [Path(f"{name}={toy}") for name in ("text-embedding-3-small", "clip")]
    async with serving(FakeBackend(DIM), toy, *names) as running:
        for name in ("toy", "text-embedding-3-small", "clip"):
            assert (await post(running, input="a", model=name)).json()["model"] == "toy"
            answer = await running.client.post("/embed", json={"texts": ["a"], "model": name})
            assert answer.json()["model"] == "toy"
        assert (await post(running, input="a", model="gpt")).status_code == 404
