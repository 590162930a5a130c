"""The newcomer's path, over real HTTP with the real demo model and real photographs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.measuring import evaluate

TEN = ["cat", "dog", "car", "coffee", "rocket", "house", "tree", "person", "bicycle", "guitar"]


def classify(url: str, image: bytes, labels: list[str]) -> dict[str, Any]:
    answer = httpx.post(f"{url}/classify", files={"image": image}, data={"labels": labels}, timeout=30)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_readme_s_first_request(demo: str, photos: dict[str, bytes]) -> None:
    best = classify(demo, photos["cat"], ["cat", "dog", "car"])["results"][0]["labels"][0]
    assert best["label"] == "cat"
    assert best["score"] >= 0.9


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket"])
def test_photographs_among_ten_labels(demo: str, photos: dict[str, bytes], name: str) -> None:
    best = classify(demo, photos[name], TEN)["results"][0]["labels"][0]
    assert best["label"] == name
    assert best["score"] >= 0.9


def test_alone_equals_in_a_mixed_batch(demo: str, photos: dict[str, bytes]) -> None:
    encoded = [base64.b64encode(photo).decode() for photo in photos.values()]
    texts = ["cat", "a cup of coffee on a wooden table, seen from above", "rocket"]

    def embed(body: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        answer = httpx.post(f"{demo}/embed", json=body, timeout=30)
        return np.array([result["embedding"] for result in answer.json()["results"]])

    together = embed({"images": encoded * 3, "texts": texts})
    alone = [embed({"images": [image]}) for image in encoded] * 3 + [
        embed({"texts": [text]}) for text in texts
    ]
    assert (together * np.concatenate(alone)).sum(axis=1).min() > 0.99999


def test_evaluate_measures_a_running_service(demo: str, photos: dict[str, bytes], tmp_path: Path) -> None:
    # The second cup of coffee is labelled a cat: a measure that is always perfect measures nothing.
    for number, (key, name) in enumerate(
        (("n1", "cat"), ("n2", "coffee"), ("n3", "rocket"), ("n1", "coffee"))
    ):
        (tmp_path / f"{key}_{number}.JPEG").write_bytes(photos[name])
    (tmp_path / "unlabelled.jpg").write_bytes(photos["cat"])
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\tn1\tcat\n1\tn2\tcoffee\n2\tn3\trocket\n3\tn4\tguitar\n")
    accuracy = evaluate(demo, tmp_path, classes, [])
    assert (accuracy.photos, accuracy.labels) == (4, 4)
    assert (accuracy.top1, accuracy.top5) == (0.75, 1.0)
    assert "top-1 75.0%" in str(accuracy)
    # A set in which the labels are described as one another: what was right is wrong.
    crossed = [{"label": "cat", "prompts": ["coffee"]}, {"label": "coffee", "prompts": ["cat"]}]
    put = httpx.put(f"{demo}/label-sets/crossed", json={"labels": [*crossed, "rocket", "guitar"]}, timeout=30)
    assert put.json()["state"] == "ready"
    assert evaluate(demo, tmp_path, classes, [], "crossed").top1 == 0.5
    # A set that gives no label to what it is not sure of.
    strict = {"labels": ["cat", "coffee", "rocket", "guitar"], "threshold": 1.0, "scoring": "cosine"}
    put = httpx.put(f"{demo}/label-sets/strict", json=strict, timeout=30)
    assert put.json()["state"] == "ready"
    accuracy = evaluate(demo, tmp_path, classes, [], "strict")
    assert (accuracy.photos, accuracy.top1, accuracy.top5) == (4, 0.0, 0.0)
    with pytest.raises(ModelsError, match="--template or --label-set"):
        evaluate(demo, tmp_path, classes, ["a {}"], "strict")


def test_evaluate_says_what_is_missing(demo: str, tmp_path: Path) -> None:
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\tn1\tcat\n")
    with pytest.raises(ModelsError, match="holds no photo"):
        evaluate(demo, tmp_path, classes, [])
    (tmp_path / "n1_cat.jpg").write_bytes(b"x")
    with pytest.raises(ModelsError, match="unsupported_format"):
        evaluate(demo, tmp_path, classes, [])
    with pytest.raises(ModelsError, match="cannot be asked"):
        evaluate("http://127.0.0.1:9", tmp_path, classes, [])


def test_a_text_finds_its_photograph(demo: str, photos: dict[str, bytes]) -> None:
    body = {
        "images": [base64.b64encode(photos[name]).decode() for name in ("cat", "coffee", "rocket")],
        "texts": ["cat", "coffee", "rocket"],
    }
    results = httpx.post(f"{demo}/embed", json=body, timeout=30).json()["results"]
    vectors = np.array([result["embedding"] for result in results])
    assert (vectors[:3] @ vectors[3:].T).argmax(axis=1).tolist() == [0, 1, 2]
