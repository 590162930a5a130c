"""Label sets with trained weights over REST: what is answered and shown, and what is refused with nothing kept."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.fake_backend import FakeBackend
from tests.application.label_sets.trained import BIASES, LABELS, WEIGHTS, encoded, expected, trained
from tests.rest.label_sets import EXAMPLE, classified, kept, listed, put, shown, until_ready
from tests.support import DIM, Running, png, serving

NAN, INF = (np.full_like(WEIGHTS, value) for value in (np.nan, np.inf))
LARGE = WEIGHTS.copy()
LARGE[1, 3] = -2e6


def fingerprint_of(running: Running) -> str:
    (model,) = running.gateway.models.values()
    return model.fingerprint


async def test_its_answers_are_the_softmax_and_its_weights_are_shown_by_their_digest(
    running: Running,
) -> None:
    fingerprint = fingerprint_of(running)
    state = await kept(running, "pets", **trained(fingerprint))
    assert (state["state"], state["prompts"], state["templates"]) == ("ready", 0, [])
    digest = hashlib.sha256(WEIGHTS.tobytes()).hexdigest()
    assert state["weights"] == {"dim": DIM, "sha256": digest, "fingerprint": fingerprint}
    assert "biases" not in state
    assert await shown(running, "pets") == state
    assert "weights" not in (await listed(running))[0]
    vector = (await running.embed(png())).json()["results"][0]["embedding"]
    labels = (await classified(running, label_set="pets"))["results"][0]["labels"]
    scores = {each["label"]: each["score"] for each in labels}
    assert scores == pytest.approx(expected(np.array(vector, np.float32)), abs=1e-6)


async def test_the_fingerprint_may_stand_in_the_header(running: Running) -> None:
    fields = trained("")
    answer = await running.client.put(
        "/label-sets/pets", json=fields, headers={"X-Expect-Fingerprint": fingerprint_of(running)}
    )
    assert answer.json()["weights"]["fingerprint"] == fingerprint_of(running)


async def test_one_for_another_fingerprint_is_refused(running: Running) -> None:
    answer = await put(running, "pets", **trained("toy@fp32-0123456789ab"))
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_fingerprint")
    assert await listed(running) == []


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no fingerprint": ({"expect_fingerprint": None}, "give its fingerprint, expect_fingerprint"),
    "an empty one": ({"expect_fingerprint": ""}, "give its fingerprint, expect_fingerprint"),
    "weights that are no text": ({"weights": 7}, "weights: "),
    "a list of numbers": ({"weights": WEIGHTS.tolist()}, "weights: "),
    "no base64": ({"weights": "!" + encoded()[1:]}, "weights is not valid base64"),
    "base64 that is no ASCII": ({"weights": "\u00e9" + encoded()[1:]}, "weights is not valid base64"),
    "base64 with a line end": ({"weights": encoded()[:-4] + "\n" + encoded()[-3:]}, "weights is not valid base64"),
    "no weights": ({"weights": ""}, "weights has 0 bytes, and 3 labels of toy need 192"),
    "weights of a label too few": ({"weights": encoded(WEIGHTS[:2])}, "weights has 128 bytes"),
    "doubles": ({"weights": base64.b64encode(WEIGHTS.astype(float).tobytes()).decode()}, "weights has 384 bytes"),
    "a value that is none": ({"weights": encoded(NAN)}, "a weight of label 0 is nan"),
    "a value without end": ({"weights": encoded(INF)}, "a weight of label 0 is inf"),
    "a value too large": ({"weights": encoded(LARGE)}, "a weight of label 1 is -2e+06"),
    "a bias too few": ({"biases": BIASES[:2]}, "there are 2 biases for 3 labels"),
    "a bias too many": ({"biases": [*BIASES, 0]}, "there are 4 biases for 3 labels"),
    "a bias that is text": ({"biases": ["1", 2, 3]}, "biases.0: "),
    "a bias too large": ({"biases": [0, 1e300, 0]}, "the bias of label 1 is 1e+300"),
    "biases alone": ({"weights": None}, "biases belong to weights"),
    "templates": ({"templates": ["a {}"]}, "a set has weights or templates, and not both"),
    "a background": ({"background": ["else"]}, "a set has weights or background, and not both"),
    "cut prompts": ({"truncate": True}, "a set has weights or truncate, and not both"),
    "prompts": ({"labels": ["a", {"label": "b", "prompts": ["c"]}, "d"]}, "label 1 has prompts"),
    "examples": ({"labels": ["a", "b", {"label": "c", "examples": [EXAMPLE]}]}, "label 2 has examples"),
    "cosines": ({"scoring": "cosine"}, "its score is no cosine"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_a_fault_is_refused_and_nothing_is_kept(running: Running, case: str) -> None:
    fields, word = BAD[case]
    answer = await put(running, "pets", **trained(fingerprint_of(running), **fields))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert word in answer.json()["detail"]
    assert len(answer.content) < 2_000
    if "of label 1" in word:
        assert answer.json()["index"] == 1
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


async def test_one_of_a_file_is_served(running: Running, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.json").write_text(json.dumps(trained(fingerprint_of(running))))
    async with serving(FakeBackend(DIM), toy, label_sets_folder=tmp_path) as other:
        state = await until_ready(other, "pets")
        assert state["read_only"]
        assert {
            each["label"] for each in (await classified(other, label_set="pets"))["results"][0]["labels"]
        } == set(LABELS)
