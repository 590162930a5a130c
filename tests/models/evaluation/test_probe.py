"""Linear probes: beside scikit-learn alone on the same vectors, and what its file makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import clipserve
from tests.models.asking import ask
from tests.models.evaluation.asking import evaluated
from tests.support.process import Process

if TYPE_CHECKING:  # the tests that use it import it: it takes seconds, in each process
    from clipserve_models.evaluation.logistic import Part

# Each image alone: rows that share a batch with others may differ in the last bit, and so may all that follows.
ALONE = 1


def probed(out: Path, *words: object) -> tuple[dict[str, Any], str]:
    """report.json, and what was printed."""
    asked = ask("probe", *map(str, words), "--out", str(out), "--weights", str(out / "probe.npz"))
    assert asked.returncode == 0, asked.stderr
    return json.loads((out / "report.json").read_text()), asked.stdout


def test_figures_and_probabilities_are_those_of_scikit_learn_alone(
    labelled: Path, demo_process: Process, tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    url, files = demo_process.url, {}
    words = ("--test", labelled / "test", "--url", url, "--in-flight", ALONE)
    report, printed = probed(tmp_path, labelled / "train", *words)
    assert printed == (tmp_path / "report.md").read_text()
    vectors, truths = {}, {}
    with clipserve.Client(url, in_flight=ALONE) as clip:
        for part in ("train", "test"):
            files[part] = sorted((labelled / part).rglob("*.png"))
            embedded = clip.embed_images(files[part])
            vectors[part] = embedded.vectors.astype(float)
            truths[part] = np.array([file.parent.name for file in files[part]])
        alone = LogisticRegression(C=report["c"], max_iter=1_000).fit(vectors["train"], truths["train"])
        assert report["probe"]["top1"] == round(alone.score(vectors["test"], truths["test"]), 6)
        assert (report["training_images"], report["probe"]["images"], report["test"]) == (24, 16, "test")
        zero_shot = report["zero_shot"]["figures"]
        assert zero_shot == evaluated(url, labelled / "test", in_flight=ALONE).figures
        assert zero_shot["top1"] != report["probe"]["top1"]
    with np.load(tmp_path / "probe.npz") as file:
        probe = dict(file)
    assert (probe["fingerprint"], probe["weights"].dtype) == (embedded.fingerprint, np.float32)
    assert probe["classes"].tolist() == alone.classes_.tolist()
    raised = np.exp(vectors["test"] @ probe["weights"].T + probe["biases"])
    expected = alone.predict_proba(vectors["test"])
    assert raised / raised.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=1e-6)


def test_without_a_test_part_one_is_drawn_by_the_seed(
    labelled: Path, demo_process: Process, tmp_path: Path
) -> None:
    words = ("--url", demo_process.url, "--test-share", 0.25, "--seed", 7)
    report, printed = probed(tmp_path, labelled / "train", *words)
    assert (report["test"], report["training_images"], report["probe"]["images"]) == (None, 16, 8)
    assert "8 to test on, set apart with seed 7" in printed


def points(count: int, classes: int, seed: int = 0) -> Part:
    """Vectors of unit length around `classes` directions."""
    from clipserve_models.evaluation.logistic import Part

    rng = np.random.default_rng(seed)
    truths = np.arange(count) % classes
    found = np.eye(8)[truths] + rng.normal(0, 0.6, (count, 8))
    return Part((found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32), truths)


def test_the_rows_of_a_set_give_the_probabilities_of_scikit_learn_for_two_classes_too() -> None:
    from clipserve_models.evaluation.logistic import fitted, rows_of

    model, test = fitted(points(60, 2), 10.0), points(40, 2, 1)
    weights, biases = rows_of(model)
    raised = np.exp(test.vectors @ weights.T + biases)
    expected = model.predict_proba(test.vectors.astype(float))
    assert raised / raised.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=1e-6)


def test_the_sweep_tries_seven_values_and_then_closes_in_on_the_best() -> None:
    from clipserve_models.evaluation.logistic import fitted, swept

    training, validation = points(60, 5), points(400, 5, 1)
    tried = swept(training, validation)
    exponents = {round(8 * np.log10(c)) for c, _, _ in tried}
    assert {-48, -32, -16, 0, 16, 32, 48} <= exponents
    best, *others = tried
    at = round(8 * np.log10(best[0]))
    assert {at - 1, at + 1} <= exponents
    assert len(tried) <= 7 + 2 * 4
    for c, top1, loss in others:
        assert (top1, -loss) <= (best[1], -best[2])
        assert top1 == fitted(training, c).score(validation.vectors.astype(float), validation.truths)


def test_each_class_gives_its_share() -> None:
    from clipserve_models.evaluation.logistic import shares

    truths = np.array([0] * 10 + [1] * 5 + [2])
    rest, taken = shares(truths, 0.2, np.random.default_rng(0))
    assert sorted([*rest, *taken]) == [*range(16)]
    assert np.bincount(truths[taken], minlength=3).tolist() == [2, 1, 0]
    again, other = (shares(truths, 0.2, np.random.default_rng(seed))[1] for seed in (0, 1))
    assert taken.tolist() == again.tolist() != other.tolist()


def test_what_cannot_be_learned_is_said(labelled: Path, demo_process: Process, tmp_path: Path) -> None:
    photo = next((labelled / "train/cat").iterdir())
    (tmp_path / "set.csv").write_text(f"path,label\n{photo},cat\n{photo},dog\n")
    for data, words, said in (
        (labelled / "train", ("--test-share", "0.01"), "no image to test on"),
        (labelled / "train", ("--classes", "nowhere"), "nowhere is neither a file of classes"),
        (tmp_path / "set.csv", (), "has 2 classes"),
    ):
        told = ask("probe", str(data), "--url", demo_process.url, *words)
        assert (told.returncode, said in " ".join(told.stderr.split())) == (1, True), told.stderr
