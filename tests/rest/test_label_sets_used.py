"""Images classified by label sets, and what else decides the scores."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.rest.label_sets import (
    PETS,
    classified,
    classify,
    kept,
    names,
)
from tests.support import Running, png


async def test_a_set_scores_as_its_labels_and_templates_in_a_request_do(running: Running) -> None:
    definition: dict[str, Any] = {"labels": ["cat", "dog", "cow"], "templates": ["a {}", "the {}"]}
    definition["background"] = ["else", "none"]
    version = (await kept(running, "pets", **definition))["version"]
    options: list[dict[str, Any]] = [
        {},
        {"scoring": "sigmoid", "temperature": 3},
        {"scoring": "cosine", "top_k": 2},
        {"temperature": 0.5, "threshold": 0.1},
    ]
    for said in options:
        by_set = await classified(running, label_set="pets", **said)
        by_labels = await classified(running, **definition, **said)
        assert by_set.pop("label_sets") == [{"name": "pets", "version": version}]
        assert by_set == by_labels
        assert set.union(*map(names, by_set["results"])) <= {"cat", "dog", "cow"}


async def test_a_request_says_more_than_the_set(running: Running) -> None:
    await kept(running, "pets", **PETS)
    of_all = (await classified(running, label_set="pets", threshold=-1))["results"][0]["labels"]
    assert {each["label"] for each in of_all} == {"cat", "dog", "cow"}
    by_set = (await classified(running, label_set="pets"))["results"][0]
    lowest = {"dog": 0.25, "cat": 0.125, "cow": 0.25}
    assert names(by_set) == {each["label"] for each in of_all if each["score"] >= lowest[each["label"]]}
    cosines = (await classified(running, label_set="pets", threshold=-1, scoring="cosine"))["results"][0]
    assert all(each["score"] == each["cosine"] for each in cosines["labels"])
    sharper = (await classified(running, label_set="pets", threshold=-1, temperature=0.1))["results"][0]
    assert sharper["labels"][0]["score"] > of_all[0]["score"]


async def test_labels_have_the_ids_that_the_set_gives_them(running: Running) -> None:
    await kept(running, "pets", **PETS)
    labels = (await classified(running, label_set="pets", threshold=-1))["results"][0]["labels"]
    assert {each["label"]: each.get("id") for each in labels} == {"dog": None, "cat": "c-1", "cow": None}


async def test_a_threshold_that_no_label_reaches_leaves_none(running: Running) -> None:
    assert (await classified(running, labels=["a", "b"], threshold=1))["results"] == [{"labels": []}]
    await kept(running, "pets", labels=["a", "b"], threshold=1)
    assert (await classified(running, label_set="pets"))["results"] == [{"labels": []}]


async def test_several_sets_score_each_image_of_which_one_is_bad(running: Running) -> None:
    for name in ("first", "second"):
        await kept(running, name, labels=[f"{name} {letter}" for letter in "ab"])
    answer = await classify(running, png(1), b"no image", png(2), label_sets=["second", "first"], top_k=1)
    body = answer.json()
    assert [each["name"] for each in body["label_sets"]] == ["second", "first"]
    assert body["results"][1]["error"]["code"] == "unsupported_format"
    for result, seed in ((body["results"][0], 1), (body["results"][2], 2)):
        assert [each["label_set"] for each in result["label_sets"]] == ["second", "first"]
        for each in result["label_sets"]:
            alone = await classify(running, png(seed), label_set=each["label_set"], top_k=1)
            assert each["labels"] == alone.json()["results"][0]["labels"]
            assert len(each["labels"]) == 1


async def test_json_and_a_query_name_sets_too(running: Running) -> None:
    await kept(running, "pets", labels=["a", "b"])
    by_form = await classified(running, label_set="pets")
    image = base64.b64encode(png()).decode()
    by_json = await running.client.post("/classify", json={"images": [image], "label_sets": ["pets"]})
    by_query = await running.client.post(
        "/classify?label_set=pets", content=png(), headers={"content-type": "image/png"}
    )
    assert by_json.json() == by_query.json() == by_form


async def test_a_version_is_served_while_it_is_the_present_one(running: Running) -> None:
    old = (await kept(running, "pets", labels=["a"]))["version"]
    assert (await classify(running, label_set=f"pets@{old}")).status_code == 200
    new = (await kept(running, "pets", labels=["a", "b"]))["version"]
    assert (await classify(running, label_set=f"pets@{new}")).status_code == 200
    refused = await classify(running, label_set=f"pets@{old}")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_label_set")
    assert new in refused.json()["detail"]


async def test_a_single_label_under_softmax_is_warned_of(running: Running) -> None:
    assert "single label" in (await classified(running, labels=["a"]))["warnings"][0]
    for said in ({"background": ["b"]}, {"scoring": "cosine"}, {"labels": ["a", "b"]}):
        assert "warnings" not in await classified(running, **{"labels": ["a"]} | said)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "at least one label"),
        ({"label_set": "pets", "labels": "a"}, "label set has its own"),
        ({"label_set": "pets", "background": "a"}, "label set has its own"),
        ({"label_set": ["pets", "pets"]}, "the same as one before"),
        ({"labels": "a", "background": "a"}, "the same as label 0"),
        ({"labels": "a", "temperature": "nan"}, "finite"),
        ({"labels": "a", "temperature": "-inf"}, "finite"),
        ({"labels": "a", "threshold": "inf"}, "finite"),
        ({"labels": "a", "threshold": "NaN"}, "finite"),
        ({"labels": "a", "temperature": "0"}, "from 0.001 to 1000"),
        ({"labels": "a", "threshold": "1.5"}, "from -1 to 1"),
        ({"labels": "a", "scoring": "linear"}, "softmax"),
    ],
)
async def test_what_makes_no_sense_is_refused(running: Running, fields: dict[str, Any], word: str) -> None:
    answer = await classify(running, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert word in answer.json()["detail"]
