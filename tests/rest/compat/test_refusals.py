"""What an adapter cannot do is refused with the reason, in the field where its clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rest.compat.support import IMAGES, URIS
from tests.support.service import DIM, Running, png

Refused = list[tuple[dict[str, Any], str]]  # a body, and a part of the reason


def content(**part: Any) -> dict[str, Any]:
    return {"inputs": [{"content": [part]}]}


OPENAI: Refused = [
    ({}, "send `input`"),
    ({"input": "a", "messages": []}, "one of the two"),
    ({"input": []}, "nothing to embed"),
    ({"input": 5}, "input[0] must be a text"),
    ({"input": [1, 2]}, "check_embedding_ctx_length=False"),
    ({"input": ["a"] * 5_000}, "input has 5,000 items; the limit is 4,096"),
    ({"input": "a", "dimensions": 8}, f"dimensions is 8; the vectors of toy have {DIM}"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format: Input should be 'float' or 'base64'"),
    ({"input": "a", "normalized": False}, "normalized: Input should be True"),
    ({"input": "cat " * 900, "truncation": False}, "input[0]: text 0 has "),
    ({"input": "a", "output_dimension": 7}, f"is 7; the vectors of toy have {DIM}"),
    ({"input": "a", "output_dtype": "int8"}, "output_dtype"),
    ({"messages": "a"}, "messages must be a list"),
    ({"messages": [{"role": "system", "content": "a"}]}, "messages has 0 texts and images"),
    ({"messages": [{"content": "a"}, {"content": "b"}]}, "messages has 2 texts and images"),
    ({"input": ["https://a/b"], "modality": "image"}, "input[0]: image 0 is a URL"),
    ({"input": ["a", "https://a.example/b/Cat.JPG?w=2"]}, "input[1] is the URL of an image: send the image"),
]
COHERE: Refused = [
    ({}, "send one of `texts`, `images` and `inputs`"),
    ({"texts": ["a"], "images": URIS}, "send one of"),
    ({"texts": "a"}, "texts must be a list"),
    ({"inputs": [{"content": [{"type": "text", "text": "a"}] * 2}]}, "inputs[0].content has 2 texts and"),
    ({"texts": ["a"], "truncate": "START"}, "truncate: Input should be 'NONE' or 'END'"),
    ({"texts": ["a", "a" * 50], "truncate": "NONE"}, "texts[1]: text 1 has 52 tokens"),
    ({"texts": ["a"], "embedding_types": ["uint8"]}, "embedding_types.0: Input should be"),
    ({"texts": ["a"], "output_dimension": 4}, f"the vectors of toy have {DIM}"),
    ({"images": [URIS[0], "AAAA"]}, "images[1]: "),
]
VOYAGE: Refused = [
    ({"inputs": [{"content": []}]}, "inputs"),
    ({"inputs": [{"content": [{"type": "text", "text": "a"}] * 2}]}, "one vector is asked"),
    (content(type="video_url", video_url="x"), "must be a text"),
    (content(type="text", text="a") | {"output_dtype": "int8"}, "output_dtype"),
    (content(type="text", text="cat " * 900) | {"truncation": False}, "inputs[0]: text 0 has "),
]
LLAMA_CPP: Refused = [
    ({}, "send `content`"),
    ({"input": "a cat"}, "to /v1/embeddings"),
    ({"content": ["a cat"], "embd_normalize": -1}, "embd_normalize"),
    ({"content": ["cat " * 900]}, "content[0]"),
    ({"content": ["a"] * 9_999}, "content has 9,999 items"),
    (
        {"content": ["a", {"prompt_string": "a cat <__media__>", "multimodal_data": [IMAGES[0]]}]},
        "content[1].prompt_string must be only the media marker",
    ),
    ({"content": [{"prompt_string": "", "multimodal_data": IMAGES}]}, "at most 1 item"),
]
RERANK: Refused = [
    ({"query": "a cat"}, "documents must be a list"),
    ({"query": "a cat", "documents": []}, "documents is empty"),
    ({"documents": ["a cat"]}, "query must be a text"),
    ({"query": "a cat", "documents": ["a dog", 7]}, "documents[1] must be a text"),
    ({"query": "a cat", "documents": ["x", {"image": "aGVsbG8="}]}, "documents[1]"),
    ({"query": "a cat", "documents": ["cat " * 900], "truncate": False}, "documents[0]"),
    ({"query": "cat " * 900, "documents": ["x"], "truncate": False}, "query"),
]
WEAVIATE: Refused = [
    ({"texts": None, "images": None}, "there is nothing to embed"),
    ({"images": ["http://a/cat.jpg"]}, "URL"),
    ({"texts": "a cat"}, "texts: Input should be a valid list"),
    ({"texts": ["a"] * 9_999}, "the request has 9,999 texts"),
]
SHORT = {"candidate_labels": ["a"], "hypothesis_template": "{}"}
HUGGING_FACE: Refused = [
    ({"inputs": IMAGES[0]}, "parameters: Field required"),
    ({"inputs": IMAGES[0], "parameters": {}}, "candidate_labels: Field required"),
    ({"inputs": "http://a", "parameters": SHORT}, "is a URL"),
    ({"inputs": "aaaa", "parameters": {"candidate_labels": ["a"] * 9_999}}, "9,999 labels"),
]
# Where an error is in the answer, and what is refused.
ADAPTERS: dict[str, tuple[str, Refused]] = {
    "/v1/embeddings": ("error.message", OPENAI),
    "/v2/embed": ("detail", COHERE),
    "/v1/multimodalembeddings": ("detail", VOYAGE),
    "/embeddings": ("error.message", LLAMA_CPP),
    "/rerank": ("detail", RERANK),
    "/vectorize": ("error", WEAVIATE),
    "/models/toy": ("error", HUGGING_FACE),
}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        pytest.param(path, body, said, id=f"{path}: {said}")
        for path, (_, refused) in ADAPTERS.items()
        for body, said in refused
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_reason(
    running: Running, path: str, body: dict[str, Any], said: str
) -> None:
    answer = await running.client.post(path, json=body)
    assert answer.is_client_error
    told = answer.json()
    for name in ADAPTERS[path][0].split("."):
        told = told[name]
    assert said in told


VISUAL = {"clip": {"visual": {"modelName": "toy"}}}
TEXTUAL = {"clip": {"textual": {"modelName": "toy"}}}
IMAGE = {"image": ("blob", png(1))}


@pytest.mark.parametrize(
    ("entries", "parts", "said"),
    [
        (VISUAL, {}, "the form has 0 images and 0 texts"),
        (TEXTUAL, IMAGE, "one vector of textual content alone, and the form has 1 images"),
        (VISUAL, IMAGE | {"text": (None, "a")}, "the form has 1 images and 1 texts"),
        ({"facial-recognition": {}}, IMAGE, "Faces and OCR are not served"),
        ({"clip": {}}, IMAGE, "entries must be JSON"),
        (["clip"] * 9_999, IMAGE, "of at most 4,096 characters"),
    ],
)
async def test_immich_is_refused_with_the_reason(
    running: Running, entries: Any, parts: dict[str, Any], said: str
) -> None:
    answer = await running.client.post("/predict", files={"entries": (None, json.dumps(entries)), **parts})
    assert answer.is_client_error
    assert said in answer.json()["detail"]
