"""What JSON alone can have wrong in a label set, of which nothing is kept.

The faults that both APIs can be sent are in tests/apis.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.rest.label_sets import listed, put
from tests.support import Running, form, png

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
    "an example that is no base64": ({"labels": [{"label": "b", "examples": ["!"]}]}, 422, "not valid base64"),
    "one that is a URL": (
        {"labels": [{"label": "b", "examples": ["http://127.0.0.1/a.png"]}]}, 422, "URLs are not fetched",
    ),
    "too many examples": ({"labels": [{"label": "b", "examples": [""] * 1_001}]}, 413, "1,001 example images"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_set_is_refused_and_nothing_is_kept(running: Running, case: str) -> None:
    fields, status, word = BAD[case]
    answer = await put(running, "pets", **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert word in answer.json()["detail"]
    assert len(answer.content) < 2_000
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
