"""Label sets over gRPC: what is put comes back, and is classified by."""

from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest

from clipserve.v1 import clip_pb2
from tests.rpc.client import Client
from tests.rpc.label_sets import names, put, refusal
from tests.support import CONTEXT, png

FIRST, SECOND = png(1), png(2)
SHORT = [
    *("name", "version", "state", "served_version", "model", "fingerprint"),
    *("label_count", "prompts", "prompts_done", "read_only"),
]


async def test_a_set_comes_back_as_it_was_put(client: Client) -> None:
    labels: list[dict[str, Any]] = [
        {"label": "cat", "id": "n1", "prompts": [], "examples": [FIRST, SECOND], "threshold": 0.1},
        {"label": "dog", "prompts": ["a {} that barks", "an animal"], "examples": [png(3)]},
        {"label": "cow", "prompts": [], "examples": [FIRST], "threshold": 0.0},
    ]
    fields = {
        "templates": ["a {}", "the {}"],
        "background": ["grass"],
        "truncate": True,
        "scoring": "sigmoid",
        "temperature": 2.5,
        "threshold": -0.25,
        "example_weight": 0.75,
    }
    kept = await put(client, labels=labels, **fields)
    assert {name: kept[name] for name in fields} == fields
    for each in labels:
        each["examples"] = [hashlib.sha256(file).hexdigest() for file in each["examples"]]
    assert kept["labels"] == labels
    assert (kept["state"], kept["served_version"]) == ("ready", kept["version"])
    assert (kept["label_count"], kept["prompts"], kept["prompts_done"]) == (3, 8, 8)
    assert (kept["loo"]["examples"], kept["read_only"]) == (4, False)
    assert (await client.call("GetLabelSet", name="pets"))["label_set"] == kept


async def test_what_is_left_out_is_as_the_model_has_it(client: Client) -> None:
    kept = await put(client)
    assert (kept["model"], kept["templates"]) == ("toy", ["{}"])
    assert (kept["scoring"], kept["example_weight"]) == (None, 0.5)
    assert {"temperature", "threshold", "loo", "error"}.isdisjoint(kept)


async def test_an_example_that_looks_like_another_label_is_named(client: Client) -> None:
    labels = [{"label": "cat", "examples": [FIRST, SECOND]}, {"label": "dog", "examples": [FIRST]}]
    loo = (await put(client, labels=labels))["loo"]
    assert {"label": "cat", "example": 0, "taken_for": "dog"} in loo["misread"]
    assert loo["accuracy"] == pytest.approx(1 - len(loo["misread"]) / 3)


async def test_a_list_has_all_sets_by_name_in_short(client: Client) -> None:
    second = await put(client, "b", labels=[{"label": "x" * (CONTEXT + 1)}], truncate=True)
    first = await put(client, "a", labels=[{"label": "cat", "examples": [FIRST]}, {"label": "dog"}])
    assert (first["warnings"], second["truncated_labels"]) != ([], [])
    for shown, kept in zip((await client.call("ListLabelSets"))["label_sets"], (first, second), strict=True):
        assert {name: shown.pop(name) for name in SHORT} == {name: kept[name] for name in SHORT}
        assert not any(shown.values())


async def test_a_deleted_set_is_gone(client: Client) -> None:
    await put(client)
    await client.call("DeleteLabelSet", name="pets")
    assert await names(client) == []
    for method in ("GetLabelSet", "DeleteLabelSet"):
        refused = await refusal(client, method, name="pets")
        assert (refused.status, refused.fields["code"]) == (grpc.StatusCode.NOT_FOUND, "unknown_label_set")


async def test_a_set_scores_as_its_labels_and_templates_to_the_last_bit(client: Client) -> None:
    await put(client, templates=["a {}", "the {}"], background=["grass"])
    images = [FIRST, b"broken", SECOND]
    by_set = await client.stub.Classify(clip_pb2.ClassifyRequest(images=images, label_sets=["pets"]))
    by_labels = await client.stub.Classify(
        clip_pb2.ClassifyRequest(
            images=images, labels=["cat", "dog"], templates=["a {}", "the {}"], background=["grass"]
        )
    )
    assert by_set.results == by_labels.results
    assert [len(result.labels) for result in by_set.results] == [2, 0, 2]
    assert (len(by_set.label_sets), len(by_labels.label_sets)) == (1, 0)


async def test_each_of_several_sets_has_labels_of_its_own(client: Client) -> None:
    pets = await put(client, labels=[{"label": "cat", "id": "n1"}, {"label": "dog"}])
    food = await put(client, "food", labels=[{"label": "bread"}], scoring="cosine")
    answer = await client.call("Classify", images=[FIRST, b"broken"], label_sets=["food", "pets"])
    assert answer["label_sets"] == [
        {"name": name, "version": each["version"]} for name, each in (("food", food), ("pets", pets))
    ]
    result, broken = answer["results"]
    assert result["labels"] == []
    assert broken["error"]["index"] == 1
    assert [each["label_set"] for each in result["label_sets"]] == ["food", "pets"]
    (bread,), of_pets = (each["labels"] for each in result["label_sets"])
    assert (bread["label"], bread["score"]) == ("bread", bread["cosine"])
    assert {each["label"]: each.get("id") for each in of_pets} == {"cat": "n1", "dog": None}
    alone = await client.call("Classify", images=[FIRST], label_sets=["pets"])
    assert alone["results"] == [{"labels": of_pets, "label_sets": []}]


async def test_a_version_that_was_replaced_is_not_served(client: Client) -> None:
    version = (await put(client))["version"]
    asked: dict[str, Any] = {"images": [FIRST], "label_sets": [f"pets@{version}"]}
    assert (await client.call("Classify", **asked))["label_sets"][0]["version"] == version
    await put(client, templates=["a {}"])
    refused = await refusal(client, "Classify", **asked)
    assert (refused.status, refused.fields["code"]) == (grpc.StatusCode.NOT_FOUND, "unknown_label_set")


async def test_options_of_scores_say_which_labels_come_with_what_score(client: Client) -> None:
    asked: dict[str, Any] = {"images": [FIRST], "labels": ["cat", "dog", "cow"]}
    answer = await client.call("Classify", scoring="cosine", **asked)
    labels = answer["results"][0]["labels"]
    assert [each["score"] for each in labels] == [each["cosine"] for each in labels]
    lowest = (labels[0]["score"] + labels[1]["score"]) / 2
    answer = await client.call("Classify", scoring="cosine", threshold=lowest, **asked)
    assert answer["results"][0]["labels"] == labels[:1]
    answer = await client.call("Classify", labels=["cat"], images=[FIRST], temperature=1000.0)
    assert answer["warnings"][0].startswith("a single label under softmax has the score 1")
    answer = await client.call(
        "Classify", images=[FIRST], labels=["cat"], background=["dog"], temperature=1000.0
    )
    assert answer["results"][0]["labels"][0]["score"] == pytest.approx(0.5, abs=0.01)
