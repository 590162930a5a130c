"""Label sets over REST: put, shown, listed, deleted, built, and used."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.rest.label_sets import (
    PETS,
    classified,
    classify,
    kept,
    listed,
    put,
    shown,
    until_ready,
)
from tests.support import DIM, Running, png, serving

# Put, shown, listed, deleted.


async def test_what_is_put_is_shown_with_its_examples_as_digests(running: Running) -> None:
    answer = await kept(running, "pets", **PETS)
    digest = hashlib.sha256(png(7)).hexdigest()
    assert answer["labels"] == [
        {"label": "dog"},
        PETS["labels"][1],
        {"label": "cow", "examples": [digest] * 2},
    ]
    for name in ("templates", "background", "temperature", "threshold", "example_weight"):
        assert answer[name] == PETS[name]
    assert (answer["name"], answer["model"], answer["truncate"]) == ("pets", "toy", False)
    assert answer["state"] == "ready"
    assert answer["served_version"] == answer["version"]
    assert answer["prompts"] == answer["prompts_done"] == 2 + 2 + 2 + 2
    assert "scoring" not in answer
    assert "error" not in answer
    assert await shown(running, "pets") == answer


async def test_a_deleted_set_is_gone(running: Running) -> None:
    await kept(running, "pets", labels=["a"])
    answer = await running.client.delete("/label-sets/pets")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await listed(running) == []
    for gone in (
        await running.client.get("/label-sets/pets"),
        await running.client.delete("/label-sets/pets"),
        await classify(running, label_set="pets"),
    ):
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_label_set")
    assert (await running.client.get("/livez")).status_code == 200  # on the same connection


# Built.


async def test_until_a_label_set_is_built_it_is_told_when_to_come_back(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy, put_wait_seconds=0.05) as running:
        running.gateway.inference.label_sets.part_for_build = 0.01
        backend.gate.clear()
        answer = await put(running, "pets", labels=["a", "b"])
        assert (answer.status_code, answer.json()["state"]) == (202, "building")
        assert "served_version" not in answer.json()
        refused = await classify(running, label_set="pets")
        assert (refused.status_code, refused.json()["code"]) == (503, "label_set_not_ready")
        assert "0 of 2 prompts are encoded" in refused.json()["detail"]
        assert min(int(each.headers["retry-after"]) for each in (answer, refused)) >= 1
        backend.gate.set()
        ready = await until_ready(running, "pets")
        assert ready["served_version"] == ready["version"] == answer.json()["version"]


async def test_the_first_request_for_a_set_waits_until_it_is_built(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy, put_wait_seconds=0.05, deadline_seconds=60) as running:
        backend.gate.clear()
        assert (await put(running, "pets", labels=["a", "b"])).status_code == 202
        asking = asyncio.create_task(classify(running, label_set="pets"))
        await running.client.get("/livez")
        backend.gate.set()
        assert (await asking).status_code == 200


async def test_an_empty_name_in_a_form_beside_labels_is_no_name(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        beside = await running.classify(png(), label_set="")
        alone = await running.classify(png(), labels=[], label_set="")
    assert beside.status_code == 200
    assert "label_sets" not in beside.json()
    assert (alone.status_code, alone.json()["code"]) == (404, "unknown_label_set")


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
        ({"labels": "a", "threshold": "-inf"}, "finite"),
        ({"labels": "a", "scoring": "linear"}, "softmax"),
    ],
)
async def test_what_makes_no_sense_is_refused(running: Running, fields: dict[str, Any], word: str) -> None:
    answer = await classify(running, **fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert word in answer.json()["detail"]
