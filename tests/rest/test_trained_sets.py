"""Label sets with trained weights over REST: what is answered and shown, and what its JSON can have wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.fake_backend import FakeBackend
from tests.application.label_sets.trained import WEIGHTS, encoded, trained
from tests.rest.label_sets import kept, listed, put
from tests.support import DIM, Running, serving


def fingerprint_of(running: Running) -> str:
    (model,) = running.gateway.models.values()
    return model.fingerprint


async def test_the_fingerprint_may_stand_in_the_header(running: Running) -> None:
    fields = trained("")
    answer = await running.client.put(
        "/label-sets/pets", json=fields, headers={"X-Expect-Fingerprint": fingerprint_of(running)}
    )
    assert answer.json()["weights"]["fingerprint"] == fingerprint_of(running)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"weights": 7}, "weights: "),
        ({"weights": WEIGHTS.tolist()}, "weights: "),
        ({"weights": "!" + encoded()[1:]}, "weights is not valid base64"),
        ({"biases": ["1", 2, 3]}, "biases.0: "),
    ],
)
async def test_a_fault_of_its_json_is_refused_and_nothing_is_kept(
    running: Running, fields: dict[str, Any], word: str
) -> None:
    answer = await put(running, "pets", **trained(fingerprint_of(running), **fields))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert word in answer.json()["detail"]
    assert len(answer.content) < 2_000
    assert await listed(running) == []


async def test_json_that_writes_nan_is_refused(running: Running) -> None:
    fields = trained(fingerprint_of(running), biases=[float("nan")] * 3)
    content, kind = json.dumps(fields), {"content-type": "application/json"}
    answer = await running.client.put("/label-sets/pets", content=content, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


async def test_weights_count_for_the_set_and_not_as_json_besides_images(toy: Path) -> None:
    labels = [f"{n}" for n in range(100)]
    fields = {"labels": labels, "weights": encoded(np.ones((100, DIM))), "biases": []}
    async with serving(FakeBackend(DIM), toy, max_json_bytes=2_000, max_label_set_bytes=20_000) as running:
        fingerprint = fingerprint_of(running)
        assert len((await kept(running, "large", **trained(fingerprint, **fields)))["labels"]) == 100
        answer = await put(running, "bad", labels=["a"], weights=["A" * 8_000])
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    async with serving(FakeBackend(DIM), toy, max_label_set_bytes=8_000) as running:
        answer = await put(running, "large", **trained(fingerprint, **fields))
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (413, "too_many", 8_000)
