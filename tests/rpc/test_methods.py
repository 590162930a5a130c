"""Each method does what REST does with the same fields."""

from __future__ import annotations

from typing import Any, get_args

import grpc
import pytest

from clipserve.api.requests import EmbeddingType
from clipserve.v1 import clip_pb2
from tests.rpc.client import Client, Refused
from tests.support import CONTEXT, Running, png

FIRST, SECOND = png(1), png(2)


async def rest(running: Running, path: str, **fields: Any) -> Any:
    answer = await running.client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_scores_are_those_of_rest_best_label_first(running: Running, client: Client) -> None:
    fields: dict[str, Any] = {"labels": ["cat", "dog", "cow"], "templates": ["a {}", "the {}"], "top_k": 2}
    images = [FIRST, b"broken", SECOND]
    answer = await client.call("Classify", images=images, truncate=True, **fields)
    expected = (await running.classify(*images, truncate="true", **fields)).json()
    assert [result.get("error") for result in answer["results"]] == [
        result.get("error") for result in expected["results"]
    ]
    assert answer["results"][1]["error"]["index"] == 1
    for got, other in zip(answer["results"][::2], expected["results"][::2], strict=True):
        assert [each["label"] for each in got["labels"]] == [each["label"] for each in other["labels"]]
        for one, two in zip(got["labels"], other["labels"], strict=True):
            assert one["score"] == pytest.approx(two["score"], rel=1e-6)
            assert one["cosine"] == pytest.approx(two["cosine"], rel=1e-6)
            assert one["logit"] == pytest.approx(two["logit"], rel=1e-6)
    assert answer["fingerprint"] == expected["fingerprint"]


async def test_labels_that_were_cut_are_named(client: Client) -> None:
    long = "x" * (CONTEXT + 1)
    answer = await client.call("Classify", images=[FIRST], labels=["a", long], truncate=True)
    assert answer["truncated_labels"] == [long]


@pytest.mark.parametrize("kind", get_args(EmbeddingType))
async def test_vectors_are_those_of_rest_in_every_type(running: Running, client: Client, kind: str) -> None:
    answer = await client.call("Embed", images=[FIRST], texts=["a cat"], embedding_type=kind)
    expected = (await running.embed(FIRST, texts=["a cat"], embedding_type=kind)).json()
    for got, other in zip(answer["results"], expected["results"], strict=True):
        assert got["embedding"] == pytest.approx(other["embedding"], rel=1e-6)
        assert got.get("scale") == pytest.approx(other.get("scale"))
    assert {"tokens", "truncated"} & set(answer["results"][0]) == set()
    assert (answer["results"][1]["tokens"], answer["results"][1]["truncated"]) == (7, False)


async def test_a_bad_image_has_its_error_among_the_results_and_texts_come_last(client: Client) -> None:
    answer = await client.call("Embed", images=[FIRST, b"x"], texts=["a"])
    error = answer["results"][1]["error"]
    assert (error["code"], error["index"]) == ("unsupported_format", 1)
    assert [set(result) & {"embedding", "error", "tokens"} for result in answer["results"]] == [
        {"embedding"},
        {"error"},
        {"embedding", "tokens"},
    ]


async def test_an_unknown_type_of_vector_is_refused_by_its_number(client: Client) -> None:
    message = clip_pb2.EmbedRequest(texts=["a"], embedding_type=9)  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError, match="embedding_type is 9; known are 1 to 5"):
        await client.stub.Embed(message)


async def test_similarities_are_those_of_rest(running: Running, client: Client) -> None:
    fields: dict[str, Any] = {"texts": ["a", "b"], "to_texts": ["c", "a"]}
    answer = await client.call("Similarity", images=[FIRST, b"x"], to_images=[SECOND], **fields)
    assert answer["results"][1]["error"]["code"] == "unsupported_format"
    expected = await rest(running, "/similarity", **fields)
    for got, other in zip(answer["results"][2:], expected["results"], strict=True):
        assert got["cosine"][1:] == pytest.approx(other["cosine"], rel=1e-6)
        assert got["logit"][1:] == pytest.approx(other["logit"], rel=1e-6)
    assert len(answer["results"][0]["cosine"]) == 3


async def test_tokens_are_those_of_rest(running: Running, client: Client) -> None:
    texts = ["a cat", "x" * 2 * CONTEXT]
    assert await client.call("Tokenize", texts=texts) == await rest(running, "/tokenize", texts=texts)


async def test_models_are_those_of_rest(running: Running, client: Client) -> None:
    (model,) = (await client.call("ListModels"))["models"]
    (expected,) = (await running.client.get("/v1/models")).json()["data"]
    assert model == {name: value for name, value in expected.items() if name != "object"}


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("Classify", {"images": [FIRST], "labels": ["a"]}),
        ("Embed", {"texts": ["a"]}),
        ("Similarity", {"texts": ["a"], "to_texts": ["a"]}),
        ("Tokenize", {"texts": ["a"]}),
    ],
)
async def test_a_call_may_name_its_model_and_the_fingerprint_that_it_expects(
    client: Client, method: str, fields: dict[str, Any]
) -> None:
    fingerprint = (await client.call(method, model="toy", **fields))["fingerprint"]
    await client.call(method, expect_fingerprint=fingerprint, **fields)
    with pytest.raises(Refused) as caught:
        await client.call(method, model="none", **fields)
    assert caught.value.status == grpc.StatusCode.NOT_FOUND
    with pytest.raises(Refused) as caught:
        await client.call(method, expect_fingerprint="another", **fields)
    assert caught.value.status == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_top_k_of_zero_is_not_taken_for_none(client: Client) -> None:
    with pytest.raises(Refused) as caught:
        await client.call("Classify", images=[FIRST], labels=["a"], top_k=0)
    assert caught.value.fields["detail"] == "top_k is 0; it must be at least 1."


async def test_a_large_answer_is_given_whole(client: Client) -> None:
    labels = [f"{number:04}" for number in range(1_000)]
    answer = await client.call("Classify", images=[png(seed, (4, 4)) for seed in range(32)], labels=labels)
    assert [len(result["labels"]) for result in answer["results"]] == [1_000] * 32
