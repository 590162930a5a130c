"""Label sets over REST: put, shown, listed, deleted, and built."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rest.label_sets import (
    PETS,
    Held,
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


async def test_the_list_has_each_in_short_by_name(running: Running) -> None:
    assert await listed(running) == []
    whole = {name: await kept(running, name, labels=["a", "b"]) for name in ("zoo", "Pets", "b.1_x-y")}
    short = await listed(running)
    assert [each["name"] for each in short] == sorted(whole)
    for each in short:
        assert each.items() <= whole[each["name"]].items()
        assert each["label_count"] == 2
        assert "labels" not in each


async def test_the_same_label_set_again_changes_nothing_and_another_has_another_version(
    running: Running,
) -> None:
    first = await kept(running, "pets", **PETS)
    assert await kept(running, "pets", **PETS) == first
    second = await kept(running, "pets", **PETS | {"threshold": 0.5})
    assert second["version"] != first["version"]
    assert len(await listed(running)) == 1


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


async def test_background_labels_beside_examples_are_warned_of(running: Running) -> None:
    labels = [
        {"label": name, "examples": [base64.b64encode(png(seed)).decode()]} for seed, name in enumerate("ab")
    ]
    assert "warnings" not in await kept(running, "pets", labels=labels)
    (warning,) = (await kept(running, "pets", labels=labels, background=["c"]))["warnings"]
    assert warning.startswith("background labels have no examples")


async def test_the_fingerprint_that_is_expected_is_the_model_s_or_nothing_is_kept(running: Running) -> None:
    own = (await kept(running, "a", labels=["x"]))["fingerprint"]
    for sent, status in ((own, 200), ("toy@other", 409)):
        by_field = await put(running, "by-field", labels=["x"], expect_fingerprint=sent)
        by_header = await running.client.put(
            "/label-sets/by-header", json={"labels": ["x"]}, headers={"x-expect-fingerprint": sent}
        )
        assert (by_field.status_code, by_header.status_code) == (status, status)


# Built.


@pytest.fixture
async def held() -> Held:
    return Held()


@pytest.fixture
async def slow(toy: Path, held: Held) -> AsyncIterator[Running]:
    async with serving(held, toy, part_for_build=0.01, put_wait_seconds=0.05) as running:
        yield running
        held.released.set()


async def test_until_a_label_set_is_built_it_is_told_how_far_it_is(slow: Running, held: Held) -> None:
    held.calls = 1
    answer = await put(slow, "many", labels=[f"label {number:03}" for number in range(300)])
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    async with asyncio.timeout(60):
        while (state := await shown(slow, "many"))["prompts_done"] < 256:
            await asyncio.sleep(0.02)
    assert (state["state"], state["prompts"], state["prompts_done"]) == ("building", 300, 256)
    assert "served_version" not in state
    assert [each["prompts_done"] for each in await listed(slow)] == [256]
    refused = await classify(slow, label_set="many")
    assert (refused.status_code, refused.json()["code"]) == (503, "label_set_not_ready")
    assert "256 of 300" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) >= 1
    held.released.set()
    ready = await until_ready(slow, "many")
    assert ready["prompts_done"] == 300
    assert ready["served_version"] == ready["version"] == state["version"]
    assert len((await classified(slow, label_set="many"))["results"][0]["labels"]) == 300


async def test_before_label_sets_are_loaded_there_is_no_answer(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, warm=False) as running:
        for answer in (
            await running.client.get("/label-sets"),
            await running.client.get("/label-sets/pets"),
            await put(running, "pets", labels=["a"]),
            await running.client.delete("/label-sets/pets"),
        ):
            assert answer.status_code == 503


async def test_an_empty_name_in_a_form_beside_labels_is_no_name(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        beside = await running.classify(png(), label_set="")
        alone = await running.classify(png(), labels=[], label_set="")
    assert beside.status_code == 200
    assert "label_sets" not in beside.json()
    assert (alone.status_code, alone.json()["code"]) == (404, "unknown_label_set")
