"""Label sets over REST. What both APIs answer and refuse is in tests/apis."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.support.service import DIM, Running, eventually, form, png, serving

EXAMPLE = base64.b64encode(png(7)).decode()
PETS: dict[str, Any] = {
    "labels": [
        "dog",
        {"label": "cat", "id": "c-1", "prompts": ["a pet", "my {}"], "threshold": 0.125},
        {"label": "cow", "examples": [EXAMPLE, f"data:image/png;base64,{EXAMPLE}"]},
    ],
    "templates": ["a {}", "the {}"],
    "background": ["else"],
    "temperature": 2.0,
    "threshold": 0.25,
    "example_weight": 0.5,
}


async def put(running: Running, **fields: Any) -> httpx.Response:
    return await running.client.put("/label-sets/pets", json=fields)


async def shown(running: Running) -> dict[str, Any]:
    body: dict[str, Any] = (await running.client.get("/label-sets/pets")).json()
    return body


async def listed(running: Running) -> Any:
    return (await running.client.get("/label-sets")).json()["label_sets"]


async def classify(running: Running, **fields: Any) -> httpx.Response:
    return await running.client.post("/classify", files=form([png()], {"label_set": "pets"} | fields))


async def test_what_is_put_is_shown_with_its_examples_as_digests(running: Running) -> None:
    answer = await put(running, **PETS)
    assert answer.status_code == 200, answer.text
    body, digest = answer.json(), hashlib.sha256(png(7)).hexdigest()
    assert body["labels"] == [{"label": "dog"}, PETS["labels"][1], {"label": "cow", "examples": [digest] * 2}]
    for name in ("templates", "background", "temperature", "threshold", "example_weight"):
        assert body[name] == PETS[name]
    assert (body["name"], body["model"], body["truncate"], body["state"]) == ("pets", "toy", False, "ready")
    assert body["served_version"] == body["version"]
    assert body["prompts"] == body["prompts_done"] == 2 + 2 + 2 + 2
    assert not {"scoring", "error"} & body.keys()
    assert await shown(running) == body


async def test_a_deletion_has_an_answer_without_a_body(running: Running) -> None:
    await put(running, labels=["a"])
    answer = await running.client.delete("/label-sets/pets")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await listed(running) == []  # on the same connection


async def test_until_a_label_set_is_built_it_is_told_when_to_come_back_and_one_with_time_waits(
    toy: Path,
) -> None:
    backend = Gated()
    async with serving(backend, toy, put_wait_seconds=0.05, deadline_seconds=60) as running:
        label_sets = running.gateway.inference.label_sets
        label_sets.part_for_build = 0.0001
        backend.gate.clear()
        answer = await put(running, labels=["a", "b"])
        assert (answer.status_code, answer.json()["state"]) == (202, "building")
        assert "served_version" not in answer.json()
        refused = await classify(running)
        assert (refused.status_code, refused.json()["code"]) == (503, "label_set_not_ready")
        assert "0 of 2 prompts are encoded" in refused.json()["detail"]
        assert min(int(each.headers["retry-after"]) for each in (answer, refused)) >= 1
        label_sets.part_for_build = 0.75
        asking = asyncio.create_task(classify(running))
        done, _ = await asyncio.wait([asking], timeout=0.5)
        assert not done
        backend.gate.set()
        assert (await asking).status_code == 200
        ready = await shown(running)
        assert ready["served_version"] == ready["version"] == answer.json()["version"]


async def test_an_empty_name_in_a_form_beside_labels_is_no_name(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        beside = await running.classify(png(), label_set="")
        alone = await running.classify(png(), labels=[], label_set="")
    assert beside.status_code == 200
    assert "label_sets" not in beside.json()
    assert (alone.status_code, alone.json()["code"]) == (404, "unknown_label_set")


async def test_json_and_a_query_name_sets_too_and_labels_have_the_ids_of_the_set(running: Running) -> None:
    await put(running, **PETS)
    by_form = await classify(running, threshold=-1)
    labels = by_form.json()["results"][0]["labels"]
    assert {each["label"]: each.get("id") for each in labels} == {"dog": None, "cat": "c-1", "cow": None}
    image = base64.b64encode(png()).decode()
    by_json = await running.client.post(
        "/classify", json={"images": [image], "label_sets": ["pets"], "threshold": -1}
    )
    by_query = await running.client.post(
        "/classify?label_set=pets&threshold=-1", content=png(), headers={"content-type": "image/png"}
    )
    assert by_json.json() == by_query.json() == by_form.json()


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no labels": ({}, 400, "labels: Field required"),
    "labels that are no list": ({"labels": {"a": 1}}, 400, "labels: "),
    "many more labels": ({"labels": [{}] * 50_000}, 413, "50,000 labels"),
    "more values than JSON may have": ({"labels": [{}] * 250_000}, 413, "commas and brackets"),
    "a number for a label": ({"labels": ["a", 7]}, 400, "labels.1.object: Input should be"),
    "a label without a name": ({"labels": [{"id": "7"}]}, 400, "labels.0.object.label: Field required"),
    "a field that is unknown": ({"labels": ["a"], "lables": []}, 400, "lables: no such field"),
    "one of a label": ({"labels": [{"label": "a", "name": "b"}]}, 400, "labels.0.object.name: no such field"),
    "very many of these": ({"labels": [{f"f{n}": 1 for n in range(50_000)}]}, 400, "50,001 fields that"),
    "a threshold that is text": ({"labels": ["a"], "threshold": "0.5"}, 400, "threshold: "),
    "a scoring that is none": ({"labels": ["a"], "scoring": "best"}, 400, "scoring: "),
    "an example that is no base64": (
        {"labels": ["a", {"label": "b", "examples": [EXAMPLE, "!"]}]}, 422, "example 1 of label 1: the ",
    ),
    "one that is a URL": (
        {"labels": [{"label": "b", "examples": ["http://127.0.0.1/a.png"]}]}, 422, "URLs are not fetched",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_set_is_refused_and_nothing_is_kept(running: Running, case: str) -> None:
    fields, status, word = BAD[case]
    answer = await put(running, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert word in answer.json()["detail"]
    assert len(answer.content) < 2_000
    assert await listed(running) == []


async def test_only_json_is_taken(running: Running) -> None:
    bodies = {"application/x-www-form-urlencoded": b"labels=a", "image/png": png(), "application/json": b"{"}
    for kind, body in bodies.items():
        answer = await running.client.put("/label-sets/pets", content=body, headers={"content-type": kind})
        assert answer.status_code == (400 if "json" in kind else 415)
    assert await listed(running) == []


async def test_a_set_that_cannot_be_built_is_in_the_metrics_until_it_can(toy: Path) -> None:
    async with serving(backend := FakeBackend(DIM), toy, put_wait_seconds=0.01) as running:
        counted = running.gateway.metrics.registry.get_sample_value
        await backend.aclose()  # as if the encoders were away
        await put(running, labels=["cat", "dog"])
        await eventually(lambda: counted("clipserve_label_sets_failed") == 1, 60)
        assert (await shown(running))["state"] == "failed"
        await backend.start()
        await eventually(lambda: counted("clipserve_label_sets_failed") == 0, 60)
        assert (await shown(running))["state"] == "ready"
