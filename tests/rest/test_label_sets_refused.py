"""Label sets that are refused, of which nothing is kept."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rest.label_sets import (
    EXAMPLE,
    classified,
    kept,
    listed,
    names,
    put,
    shown,
    until_ready,
)
from tests.rest.test_bad_inputs import exchange
from tests.support import DIM, Running, form, png, serving

CUT_OFF = EXAMPLE[: len(EXAMPLE) // 8 * 4]

BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no labels": ({}, 400, "labels: Field required"),
    "an empty list": ({"labels": []}, 400, "at least one label"),
    "labels that are no list": ({"labels": {"a": 1}}, 400, "labels: "),
    "too many labels": ({"labels": [str(n) for n in range(1_001)]}, 413, "1,001 labels"),
    "many more labels": ({"labels": [{}] * 50_000}, 413, "50,000 labels"),
    "more values than JSON may have": ({"labels": [{}] * 250_000}, 413, "500,001 values"),
    "an empty label": ({"labels": ["a", " "]}, 400, "label 1 is empty"),
    "a label twice": ({"labels": ["a", {"label": "a"}]}, 400, "label 1 is the same"),
    "a number for a label": ({"labels": ["a", 7]}, 400, "labels.1: must be a name or an object"),
    "a label without a name": ({"labels": [{"id": "7"}]}, 400, "labels.0.object.label: Field required"),
    "a field that is unknown": ({"labels": ["a"], "lables": []}, 400, "lables: no such field"),
    "one of a label": ({"labels": [{"label": "a", "name": "b"}]}, 400, "labels.0.name: no such field"),
    "very many of these": ({"labels": [{f"f{n}": 1 for n in range(50_000)}]}, 400, "f4: no such field. "),
    "an id twice": ({"labels": [{"label": c, "id": "7"} for c in "ab"]}, 400, "id of label 1"),
    "an id too long": ({"labels": [{"label": "a", "id": "7" * 129}]}, 400, "id of label 0 has 129 characters"),
    "a threshold that is text": ({"labels": ["a"], "threshold": "0.5"}, 400, "threshold: "),
    "a threshold too high": ({"labels": ["a"], "threshold": 2}, 400, "threshold is 2"),
    "a temperature too low": ({"labels": ["a"], "temperature": 0}, 400, "temperature is 0"),
    "a scoring that is none": ({"labels": ["a"], "scoring": "best"}, 400, "scoring: "),
    "a prompt of too many tokens": ({"labels": ["b", "a" * 90]}, 400, "label 1 makes a prompt of"),
    "a template without a slot": ({"labels": ["a"], "templates": ["x"]}, 400, "template 0 has no slot"),
    "a model that is unknown": ({"labels": ["a"], "model": "other"}, 404, "no model 'other' is served"),
    "an example that is no image": (
        {"labels": ["a", {"label": "b", "examples": [EXAMPLE, "AAAA"]}]}, 415, "example 1 of label 1",
    ),
    "one that is cut off": (
        {"labels": ["a", {"label": "b", "examples": [CUT_OFF]}]}, 422, "example 0 of label 1",
    ),
    "one that is no base64": ({"labels": [{"label": "b", "examples": ["!"]}]}, 422, "not valid base64"),
    "one that is a URL": (
        {"labels": [{"label": "b", "examples": ["http://127.0.0.1/a.png"]}]}, 422, "URLs are not fetched",
    ),
    "too many examples": ({"labels": [{"label": "b", "examples": [""] * 4_097}]}, 413, "4,096 images"),
    "too large besides images": ({"labels": ["a"], "templates": ["{}" * 600_000]}, 413, "besides its images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_set_is_refused_and_nothing_is_kept(running: Running, case: str) -> None:
    fields, status, word = BAD[case]
    answer = await put(running, "pets", **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert word in answer.json()["detail"]
    assert len(answer.content) < 2_000
    if "of label 1" in word or word.startswith("label 1"):
        assert answer.json()["index"] == 1
    assert await listed(running) == []


async def test_only_json_is_taken(running: Running) -> None:
    form_of = await running.client.put("/label-sets/pets", files=form([], {"labels": "a"}))
    image = await running.client.put("/label-sets/pets", content=png(), headers={"content-type": "image/png"})
    for answer in (form_of, image):
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    no_json = await running.client.put(
        "/label-sets/pets", content=b"{", headers={"content-type": "application/json"}
    )
    assert no_json.status_code == 400
    assert await listed(running) == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("a%0Ab", 400),
        ("a%00", 400),
        ("pets@1", 400),
        (".hidden", 400),
        ("%C3%A9", 400),
        ("a" * 65, 400),
        ("..", 400),
        ("a%2Fb", 404),
        ("../pets", 404),
        ("%2e%2e%2fpets", 404),
        ("pets/", 404),
    ],
)
async def test_a_name_that_is_none_is_refused(running: Running, target: str, status: int) -> None:
    head = f"PUT /label-sets/{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 17\r\n"
    body = b'Content-Type: application/json\r\n\r\n{"labels": ["a"]}'
    answer = await exchange(running, head.encode() + body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert await listed(running) == []


async def test_a_set_over_the_service_s_limits_is_refused(toy: Path) -> None:
    limits: dict[str, Any] = {
        "max_label_sets": 1,
        "max_label_set_prompts": 4,
        "max_label_set_examples": 1,
        "max_label_set_bytes": 60_000,
    }
    async with serving(FakeBackend(DIM), toy, **limits) as running:
        await kept(running, "one", labels=["a"])
        bad: list[dict[str, Any]] = [
            {"labels": ["a"]},
            {"labels": ["a", "b", "c"], "templates": ["a {}", "the {}"]},
            {"labels": [{"label": "a", "examples": [EXAMPLE] * 2}]},
            {"labels": [{"label": "a", "examples": [base64.b64encode(bytes(60_000)).decode()]}]},
        ]
        for fields in bad:
            answer = await put(running, "two", **fields)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_many"), fields
            assert answer.json()["limit"] in limits.values()
        assert [each["name"] for each in await listed(running)] == ["one"]


async def test_a_set_from_a_file_is_served_and_cannot_be_changed(toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "pets.toml").write_text('labels = ["cat", { label = "dog", id = "7" }]\nthreshold = -1\n')
    async with serving(FakeBackend(DIM), toy, label_sets_folder=folder) as running:
        state = await until_ready(running, "pets")
        assert state["read_only"]
        assert names((await classified(running, label_set="pets"))["results"][0]) == {"cat", "dog"}
        for refused in (
            await put(running, "pets", labels=["a"]),
            await running.client.delete("/label-sets/pets"),
        ):
            assert (refused.status_code, refused.json()["code"]) == (409, "label_set_read_only")
        assert await shown(running, "pets") == state
