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


async def test_json_and_a_query_name_sets_too(running: Running) -> None:
    await kept(running, "pets", labels=["a", "b"])
    by_form = await classified(running, label_set="pets")
    image = base64.b64encode(png()).decode()
    by_json = await running.client.post("/classify", json={"images": [image], "label_sets": ["pets"]})
    by_query = await running.client.post(
        "/classify?label_set=pets", content=png(), headers={"content-type": "image/png"}
    )
    assert by_json.json() == by_query.json() == by_form


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"label_set": "pets", "background": "a"}, "label set has its own"),
        ({"labels": "a", "temperature": "nan"}, "finite"),
        ({"labels": "a", "temperature": "-inf"}, "finite"),
        ({"labels": "a", "threshold": "inf"}, "finite"),
        ({"labels": "a", "threshold": "NaN"}, "finite"),
        ({"labels": "a", "scoring": "linear"}, "softmax"),
    ],
)
async def test_what_makes_no_sense_is_refused(running: Running, fields: dict[str, Any], word: str) -> None:
    answer = await classify(running, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert word in answer.json()["detail"]
