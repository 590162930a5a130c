"""Answers as JSON, base64 or a NumPy file."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
from starlette.responses import Response

from clipserve.api.answers import (
    Classification,
    Embeddings,
    ImageLabels,
    ImageLabelSets,
    LabelScore,
    LabelSetLabels,
    UsedLabelSet,
)
from clipserve.api.requests import EncodingFormat
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import encoded
from clipserve.errors import ImageTooLarge, UndecodableImage
from clipserve.rest.rendering import NPY, embedding_response, json_response
from tests.support import DIM, Running, png

VECTORS: npt.NDArray[np.float32] = np.arange(12, dtype=np.float32).reshape(3, 4) / np.float32(7)  # [3, D]
TEXT = EncodedText(VECTORS[2], tokens=5, truncated=True)
BROKEN = UndecodableImage("image 1 is broken.", index=1)


def embedded(
    images: list[VectorOrError],
    texts: list[EncodedText],
    encoding_format: EncodingFormat = "float",
    accept: str = "*/*",
) -> Response:
    answer = Embeddings("toy", "toy@fp32-1", encoded(images, texts, "float32"))
    return embedding_response(answer, encoding_format, accept)


def told(response: Response) -> object:
    assert (response.status_code, response.media_type) == (200, "application/json")
    return orjson.loads(response.body)


def test_scores_come_for_each_image_in_order_and_errors_in_the_place_of_theirs() -> None:
    label = LabelScore("cat", score=0.5, cosine=0.25, logit=2.0)
    large = ImageTooLarge("too large", limit=5, actual=6, index=1)
    answer = Classification("toy", "toy@fp32-1", [ImageLabels([label]), large, ImageLabels([])])
    assert told(json_response(answer)) == {
        "model": "toy",
        "fingerprint": "toy@fp32-1",
        "results": [
            {"labels": [{"label": "cat", "score": 0.5, "cosine": 0.25, "logit": 2.0}]},
            {
                "error": {
                    "code": "image_too_large",
                    "detail": "too large",
                    "limit": 5,
                    "actual": 6,
                    "index": 1,
                }
            },
            {"labels": []},
        ],
    }


def test_labels_that_were_cut_are_told_if_there_are_any() -> None:
    answer = Classification("toy", "toy@fp32-1", [], ("long", "longer"))
    assert told(json_response(answer)) == {
        "model": "toy",
        "fingerprint": "toy@fp32-1",
        "results": [],
        "truncated_labels": ["long", "longer"],
    }


def test_one_label_set_has_its_labels_as_labels_of_a_request_and_several_have_a_list_each() -> None:
    plain = LabelScore("cat", score=0.5, cosine=0.25, logit=2.0)
    own = LabelScore("dog", score=0.25, cosine=0.125, logit=1.0, id="d")
    used = UsedLabelSet("pets", "1"), UsedLabelSet("cars", "2")
    shown = [
        {"label": "cat", "score": 0.5, "cosine": 0.25, "logit": 2.0},
        {"label": "dog", "score": 0.25, "cosine": 0.125, "logit": 1.0, "id": "d"},
    ]
    heading = {"model": "toy", "fingerprint": "toy@fp32-1", "warnings": ["odd"]}
    one = Classification("toy", "toy@fp32-1", [ImageLabels([plain, own])], (), ("odd",), label_sets=used[:1])
    assert told(json_response(one)) == heading | {
        "label_sets": [{"name": "pets", "version": "1"}],
        "results": [{"labels": shown}],
    }
    lists = ImageLabelSets([LabelSetLabels("pets", [plain]), LabelSetLabels("cars", [own])])
    both = Classification("toy", "toy@fp32-1", [lists, BROKEN], (), ("odd",), label_sets=used)
    body = told(json_response(both))
    assert isinstance(body, dict)
    assert body["label_sets"] == [{"name": "pets", "version": "1"}, {"name": "cars", "version": "2"}]
    several, error = body["results"]
    assert several == {
        "label_sets": [
            {"label_set": "pets", "labels": shown[:1]},
            {"label_set": "cars", "labels": shown[1:]},
        ]
    }
    assert error["error"]["code"] == "undecodable_image"


def test_vectors_are_numbers_that_are_exact_in_float32() -> None:
    body = told(embedded([VECTORS[0], BROKEN], [TEXT]))
    assert isinstance(body, dict)
    assert (body["model"], body["fingerprint"]) == ("toy", "toy@fp32-1")
    image, error, text = body["results"]
    np.testing.assert_array_equal(np.float32(image.pop("embedding")), VECTORS[0])
    np.testing.assert_array_equal(np.float32(text.pop("embedding")), VECTORS[2])
    assert image == {}
    assert error == {"error": {"code": "undecodable_image", "detail": "image 1 is broken.", "index": 1}}
    assert text == {"tokens": 5, "truncated": True}


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_base64_is_little_endian_float32_whatever_the_encoder_gave(dtype: str) -> None:
    vectors: Any = VECTORS.astype(dtype)
    body = told(embedded([vectors[0]], [EncodedText(vectors[2], 5, False)], "base64"))
    assert isinstance(body, dict)
    assert [base64.b64decode(each["embedding"], validate=True) for each in body["results"]] == [
        VECTORS[0].astype("<f4").tobytes(),
        VECTORS[2].astype("<f4").tobytes(),
    ]


def test_a_vector_that_is_a_column_of_an_array_is_a_list_too() -> None:
    body = told(embedded([VECTORS[:, 1]], []))
    assert isinstance(body, dict)
    np.testing.assert_array_equal(np.float32(body["results"][0]["embedding"]), VECTORS[:, 1])


@pytest.mark.parametrize("dtype", [">f4", "<f8"])
def test_a_numpy_file_is_float32_whatever_the_encoder_gave_and_has_images_first(dtype: str) -> None:
    first, second, third = VECTORS.astype(dtype)
    response = embedded([first, second], [EncodedText(third, 5, False)], accept=NPY)
    array = np.load(io.BytesIO(response.body), allow_pickle=False)
    assert array.dtype.str == "<f4"
    np.testing.assert_array_equal(array, VECTORS)


async def test_a_model_is_told_from_its_manifest(running: Running) -> None:
    manifest = next(iter(running.gateway.models.values())).manifest
    assert (await running.client.get("/v1/models")).json() == {
        "object": "list",
        "data": [
            {
                "id": "toy",
                "object": "model",
                "ready": True,
                "fingerprint": manifest.fingerprint(),
                "embed_dim": DIM,
                "image_size": manifest.image.size,
                "context_length": manifest.text.context_length,
                "scoring": "softmax",
                "logit_scale": 10.0,
                "logit_bias": manifest.scoring.logit_bias,
                "prompt_templates": ["{}"],
                "precision": "fp32",
                "checkpoint": "none",
                "licence": "none",
                "random_weights": True,
            }
        ],
    }


async def test_an_array_is_given_to_whoever_accepts_it_and_an_image_s_error_is_the_request_s(
    running: Running,
) -> None:
    async def embed(*images: bytes, accept: str) -> Response:
        files = [("image", image) for image in images]
        return await running.client.post("/embed", files=files, headers={"accept": accept})  # type: ignore[return-value]

    for accept in ("application/x-npy", "application/x-npy, */*;q=0.5"):
        good = await embed(png(1), png(2), accept=accept)
        assert good.headers["content-type"] == "application/x-npy"
        assert good.headers["x-model-fingerprint"].startswith("toy@")
        bad = await embed(png(1), png(2)[:200], accept=accept)
        assert (bad.status_code, bad.headers["content-type"]) == (422, "application/problem+json")
    assert (await embed(png(1), accept="*/*")).headers["content-type"] == "application/json"
