"""The newcomer's path, over real HTTP with the real demo model and real photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from clipserve.client.errors import Unreachable
from clipserve_models.errors import ModelsError
from tests.label_sets import built
from tests.models.evaluation.asking import evaluated

TEN = ["cat", "dog", "car", "coffee", "rocket", "house", "tree", "person", "bicycle", "guitar"]


def classify(url: str, image: bytes, labels: list[str]) -> dict[str, Any]:
    answer = httpx.post(f"{url}/classify", files={"image": image}, data={"labels": labels}, timeout=30)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket"])
def test_photographs_among_ten_labels(demo: str, photos: dict[str, bytes], name: str) -> None:
    best = classify(demo, photos[name], TEN)["results"][0]["labels"][0]
    assert best["label"] == name
    assert best["score"] >= 0.9


def test_evaluate_measures_a_running_service(demo: str, photos: dict[str, bytes], tmp_path: Path) -> None:
    # The second cup of coffee is labelled a cat: a measure that is always perfect measures nothing.
    for number, (key, name) in enumerate(
        (("n1", "cat"), ("n2", "coffee"), ("n3", "rocket"), ("n1", "coffee"))
    ):
        (tmp_path / f"{key}_{number}.JPEG").write_bytes(photos[name])
    (tmp_path / "unlabelled.jpg").write_bytes(photos["cat"])
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\tn1\tcat\n1\tn2\tcoffee\n2\tn3\trocket\n3\tn4\tguitar\n")
    report = evaluated(demo, tmp_path, classes)
    figures = report.figures
    assert [figures[each] for each in ("images", "classes", "classes_that_occur")] == [4, 4, 3]
    assert (figures["top1"], figures["mean_per_class"]) == (0.75, pytest.approx((0.5 + 1 + 1) / 3, abs=1e-6))
    assert "| right label first (top-1) | 75.00% |" in "\n".join(report.lines())
    # A set in which the labels are described as one another: what was right is wrong.
    crossed = [{"label": "cat", "prompts": ["coffee"]}, {"label": "coffee", "prompts": ["cat"]}]
    built(demo, "crossed", {"labels": [*crossed, "rocket", "guitar"]})
    assert evaluated(demo, tmp_path, classes, label_set="crossed").figures["top1"] == 0.5
    # A set that gives no label to what it is not sure of.
    strict = {"labels": ["cat", "coffee", "rocket", "guitar"], "threshold": 1.0, "scoring": "cosine"}
    built(demo, "strict", strict)
    figures = evaluated(demo, tmp_path, classes, label_set="strict").figures
    assert (figures["images"], figures["top1"]) == (4, 0.0)
    with pytest.raises(ModelsError, match="--template or --label-set"):
        evaluated(demo, tmp_path, classes, templates=("a {}",), label_set="strict")
    classes.write_text("0\tn1\tcat\n1\tn2\tcoffee\n2\tn3\trocket\n")
    with pytest.raises(ModelsError, match="answered 'guitar', which is none of the 3 classes"):
        evaluated(demo, tmp_path, classes, label_set="crossed")


def test_evaluate_says_what_is_missing(demo: str, tmp_path: Path) -> None:
    classes = tmp_path / "classes.tsv"
    classes.write_text("0\tn1\tcat\n")
    with pytest.raises(ModelsError, match="holds no image with a class of"):
        evaluated(demo, tmp_path, classes)
    (tmp_path / "n1_cat.jpg").write_bytes(b"x")
    with pytest.raises(ModelsError, match="unsupported_format"):
        evaluated(demo, tmp_path, classes)
    with pytest.raises(Unreachable, match="cannot be asked"):
        evaluated("http://127.0.0.1:9", tmp_path, classes)
