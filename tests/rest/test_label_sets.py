"""Label sets over REST: put, shown, listed, deleted, and built."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.fake_backend import FakeBackend
from tests.application.label_sets.making import not_waiting
from tests.rest.label_sets import (
    EXAMPLE,
    PETS,
    Held,
    classified,
    classify,
    kept,
    listed,
    names,
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


async def test_examples_are_judged_by_the_names_of_labels(running: Running) -> None:
    labels = [{"label": str(seed), "examples": [base64.b64encode(png(seed)).decode()]} for seed in range(3)]
    loo = (await kept(running, "seeds", labels=labels, background=["other"]))["loo"]
    assert loo["examples"] == 3
    assert loo["accuracy"] == pytest.approx(1 - len(loo["misread"]) / 3)
    # The fake's vectors know nothing: one example, left out, is nowhere near its label.
    assert loo["misread"]
    for each in loo["misread"]:
        assert each["label"] in {"0", "1", "2"}
        assert each["example"] == 0
        assert each["taken_for"] in {"0", "1", "2", "other"} - {each["label"]}


async def test_examples_of_some_labels_alone_are_warned_of(running: Running) -> None:
    assert "1 of 3 labels" in (await kept(running, "pets", **PETS))["warnings"][0]
    assert "warnings" not in await kept(running, "pets", labels=["a", "b"], background=["c"])


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
    async with serving(held, toy, deadline_seconds=5) as running:
        yield running
        held.released.set()


async def test_until_it_is_built_it_is_told_how_far_it_is(slow: Running, held: Held) -> None:
    held.calls = 1
    answer = await put(slow, "many", labels=[f"label {number:03}" for number in range(300)])
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    state = answer.json()
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


async def test_until_the_new_one_is_built_the_old_one_is_served(slow: Running, held: Held) -> None:
    old = await kept(slow, "pets", labels=[{"label": "old", "examples": [EXAMPLE]}, "other"])
    held.calls = 0
    with not_waiting():
        replaced = await put(slow, "pets", labels=["new"])
    assert replaced.status_code == 202
    state = replaced.json()
    assert state["version"] != state["served_version"] == old["version"]
    assert "loo" in old
    assert "loo" not in state
    for name in ("pets", f"pets@{old['version']}"):
        answer = await classified(slow, label_set=name)
        assert names(answer["results"][0]) == {"old", "other"}
        assert answer["label_sets"] == [{"name": "pets", "version": old["version"]}]
    assert (await classify(slow, label_set=f"pets@{state['version']}")).status_code == 404
    held.released.set()
    await until_ready(slow, "pets")
    assert names((await classified(slow, label_set="pets"))["results"][0]) == {"new"}


async def test_before_they_are_loaded_there_is_no_answer(toy: Path) -> None:
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
