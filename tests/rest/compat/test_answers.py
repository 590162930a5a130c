"""Each route of an adapter gives what our own endpoints give, in the form of its clients."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.manifest import TextSpec
from loadtests.fake_backend import FakeBackend
from tests.rest.compat.support import IMAGES, TEXTS, URIS, post, vectors_of
from tests.support.service import DIM, TEXT, Running, png, serving, write_toy_artifact

# Cohere.

PART = {"type": "image_url", "image_url": {"url": URIS[0]}}


@pytest.mark.parametrize(
    ("body", "images", "texts"),
    [
        pytest.param({"texts": TEXTS, "input_type": "search_query"}, [], TEXTS, id="texts"),
        pytest.param({"images": URIS, "input_type": "image"}, IMAGES, [], id="images"),
        pytest.param(
            {"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, [], ["a"], id="a mixed text"
        ),
        pytest.param({"inputs": [{"content": [PART]}]}, IMAGES[:1], [], id="a mixed image"),
    ],
)
async def test_cohere_s_vectors_are_those_of_embed(
    running: Running, body: dict[str, Any], images: list[str], texts: list[str]
) -> None:
    answer = await post(running, "/v2/embed", **body)
    expected = await vectors_of(running, *images, texts=texts)
    np.testing.assert_array_equal(np.float32(answer["embeddings"]["float"]), expected)
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["texts"] == texts
    assert answer["meta"]["billed_units"]["images"] == len(images)


async def test_cohere_s_types_are_given_beside_each_other(running: Running) -> None:
    types = ["float", "int8", "binary", "ubinary", "base64"]
    given = (await post(running, "/v2/embed", texts=TEXTS, embedding_types=types))["embeddings"]
    assert list(given) == types
    vectors = await vectors_of(running, texts=TEXTS)
    bits = np.packbits(vectors > 0, axis=1)
    np.testing.assert_array_equal(given["ubinary"], bits)
    np.testing.assert_array_equal(given["binary"], bits.astype(int) - 128)
    assert [base64.b64decode(each) for each in given["base64"]] == [each.tobytes() for each in vectors]
    assert np.abs(given["int8"]).max(axis=1).tolist() == [127, 127]


async def test_cohere_is_told_which_texts_were_cut(running: Running) -> None:
    cut = await post(running, "/v2/embed", texts=["a", "a" * 50])
    assert cut["meta"]["warnings"] == ["texts[1] has too many tokens and was cut at its end."]
    assert "warnings" not in (await post(running, "/v2/embed", texts=["a"]))["meta"]


# Voyage.


@pytest.mark.parametrize("encoding", [None, "base64"])
async def test_voyage_s_vectors_are_those_of_embed(running: Running, encoding: str | None) -> None:
    parts = [
        {"type": "text", "text": TEXTS[0]},
        {"type": "image_base64", "image_base64": URIS[0]},
        {"type": "image_url", "image_url": URIS[1]},
    ]
    body = {"inputs": [{"content": [part]} for part in parts], "output_encoding": encoding}
    answer = await post(running, "/v1/multimodalembeddings", **body)
    given = [each["embedding"] for each in answer["data"]]
    if encoding:
        given = [np.frombuffer(base64.b64decode(each), "<f4") for each in given]
    expected = (await vectors_of(running, *IMAGES, texts=TEXTS[:1]))[[2, 0, 1]]
    np.testing.assert_array_equal(np.array(given, np.float32), expected)
    assert answer["usage"]["total_tokens"] == len(TEXTS[0]) + 2


async def test_voyage_s_long_texts_are_cut(running: Running) -> None:
    part = {"type": "text", "text": "cat " * 900}
    assert await post(running, "/v1/multimodalembeddings", inputs=[{"content": [part]}])
    body = {"input": ["cat " * 900], "truncation": True, "output_dimension": DIM, "input_type": "query"}
    assert len((await post(running, "/v1/embeddings", **body))["data"][0]["embedding"]) == DIM


# llama.cpp.


async def test_frigate_gets_the_vectors_of_embed_with_the_marker_that_it_is_told(running: Running) -> None:
    props = (await running.client.get("/props", params={"model": "toy"})).json()
    assert props["modalities"]["vision"]
    prompt = f"{props['media_marker']}\n"
    content: list[dict[str, Any]] = [{"prompt_string": text} for text in TEXTS]
    content += [{"prompt_string": prompt, "multimodal_data": [image]} for image in IMAGES]
    answer = await post(running, "/embeddings", content=content)
    given = [np.array(item["embedding"], np.float32).mean(axis=0) for item in answer]
    np.testing.assert_array_equal(given, (await vectors_of(running, *IMAGES, texts=TEXTS))[[2, 3, 0, 1]])


@pytest.mark.parametrize(
    "content", ["a cat", ["a cat"], [{"prompt_string": "a cat", "multimodal_data": None}]], ids=str
)
async def test_a_text_has_every_form_of_llama_cpp(running: Running, content: Any) -> None:
    ((vector,),) = [each["embedding"] for each in await post(running, "/embeddings", content=content)]
    np.testing.assert_array_equal(np.float32(vector), (await vectors_of(running, texts=["a cat"]))[0])


# Jina, Cohere, vLLM and Text Embeddings Inference.


async def cosines(running: Running, **body: Any) -> list[float]:
    (result,) = (await post(running, "/similarity", **body))["results"]
    return list(result["cosine"])


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_come_best_first_with_their_cosines(running: Running, path: str) -> None:
    documents = [TEXTS[0], {"image": IMAGES[0]}, {"text": TEXTS[1]}, URIS[1]]
    answer = await post(running, path, model="toy", query="two cats", documents=documents)
    expected = await cosines(running, texts=["two cats"], to_images=IMAGES, to_texts=TEXTS)
    in_order = [expected[place] for place in (2, 0, 3, 1)]
    assert {each["index"]: each["relevance_score"] for each in answer["results"]} == dict(enumerate(in_order))
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["model"] == "toy"


async def test_the_query_may_be_an_image_and_the_best_be_asked_for_alone(running: Running) -> None:
    body = {"query": {"image": IMAGES[0]}, "documents": TEXTS, "top_n": 1, "return_documents": True}
    every = await cosines(running, images=IMAGES[:1], to_texts=TEXTS)
    best = int(np.argmax(every))
    assert (await post(running, "/rerank", **body))["results"] == [
        {"index": best, "relevance_score": every[best], "document": {"text": TEXTS[best]}}
    ]


# Weaviate.


@pytest.mark.parametrize(
    ("texts", "images"),
    [
        pytest.param(TEXTS, URIS, id="both"),
        pytest.param(TEXTS, None, id="no images"),
        pytest.param([], IMAGES, id="no texts"),
    ],
)
async def test_weaviate_gets_the_vectors_of_embed(
    running: Running, texts: list[str], images: list[str] | None
) -> None:
    expected = await vectors_of(running, *images or (), texts=texts)
    answer = await post(running, "/vectorize", texts=texts, images=images, config={"dimensions": 5})
    given = answer["imageVectors"] + answer["textVectors"]
    np.testing.assert_array_equal(np.array(given, np.float32), expected)
    assert len(answer["textVectors"]) == len(texts)


async def test_weaviate_is_told_that_the_service_is_ready_and_what_it_serves(running: Running) -> None:
    for probe in ("ready", "live"):
        assert (await running.client.get(f"/.well-known/{probe}")).status_code == 204
    (model,) = (await running.client.get("/v1/models")).json()["data"]
    meta = (await running.client.get("/meta")).json()
    assert meta == {"model": "toy", "fingerprint": model["fingerprint"], "dimensions": DIM}


# Hugging Face.


@pytest.mark.parametrize("template", [None, "a {}", "{} or {}"])
async def test_hugging_face_s_labels_are_those_of_classify(tmp_path: Path, template: str | None) -> None:
    text = TextSpec(**TEXT.model_dump() | {"context_length": 40})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    labels = ["x", "y", "z"]
    parameters = {"candidate_labels": labels, "hypothesis_template": template}
    native = {"images": IMAGES[:1], "labels": labels, "templates": [template or "This is a photo of {}."]}
    async with serving(FakeBackend(DIM), toy) as running:
        answer = await post(running, "/models/toy", inputs=URIS[0], parameters=parameters)
        (expected,) = (await post(running, "/classify", **native))["results"]
    assert answer == [{"label": each["label"], "score": each["score"]} for each in expected["labels"]]


# Immich.


@pytest.mark.parametrize(
    ("kind", "part"), [("visual", {"image": ("blob", png(1))}), ("textual", {"text": (None, "a cat")})]
)
async def test_immich_gets_a_vector_as_a_list_in_a_string(
    running: Running, kind: str, part: dict[str, Any]
) -> None:
    entries = json.dumps({"clip": {kind: {"modelName": "toy", "options": {"language": "en"}}}})
    answer = await running.client.post("/predict", files={"entries": (None, entries), **part})
    of_image, of_text = await vectors_of(running, IMAGES[0], texts=["a cat"])
    expected = of_image if kind == "visual" else of_text
    np.testing.assert_array_equal(np.float32(json.loads(answer.json()["clip"])), expected)


async def test_immich_s_ping_is_answered_and_json_refused(running: Running) -> None:
    ping = await running.client.get("/ping")
    assert (ping.status_code, ping.text) == (200, "pong")
    refused = await running.client.post("/predict", json={"entries": "{}"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
