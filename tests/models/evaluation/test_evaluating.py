"""Evaluations of the demo model: against arithmetic of its own, interrupted, and by captions."""

from __future__ import annotations

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pytest
import skimage.data
from PIL import Image
from pyarrow import parquet

from clipserve.client.images import as_file
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.prompts import fill
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.journal import Journal, forget
from clipserve_models.evaluation.measuring import JOURNAL
from clipserve_models.variants.samples import text_feeds
from clipserve_models.verify import Graph
from tests.models.asking import ask
from tests.models.evaluation.asking import evaluated
from tests.process import ROOT, Process

# CIFAR-10's own, and what scikit-image's photographs may pass for.
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PHOTOS = {"cat": 3, "rocket": 0, "coffee": 8, "astronaut": 5}
CUTS = 10  # of each photograph, so that some are right and some wrong


def cuts() -> list[tuple[npt.NDArray[np.uint8], int]]:
    """uint8 [32, 32, 3], and its number among the labels."""
    found = []
    for name, truth in PHOTOS.items():
        photo = Image.fromarray(getattr(skimage.data, name)())
        for number in range(CUTS):
            step = 8 * number
            box = (step, step, photo.width - step, photo.height - step)
            found.append((np.asarray(photo.resize((32, 32), box=box)), truth))
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same images as CIFAR-10's file and a folder."""
    at = tmp_path_factory.mktemp("sets")
    images, truths = zip(*cuts(), strict=True)
    (at / "cifar").mkdir()
    rows = np.stack([image.transpose(2, 0, 1).ravel() for image in images])
    (at / "cifar/test_batch").write_bytes(pickle.dumps({b"data": rows, b"labels": list(truths)}, 2))
    names = [label.encode() for label in LABELS]
    (at / "cifar/batches.meta").write_bytes(pickle.dumps({b"label_names": names}, 2))
    for number, (image, truth) in enumerate(zip(images, truths, strict=True)):
        (at / "folder" / LABELS[truth]).mkdir(parents=True, exist_ok=True)
        (at / "folder" / LABELS[truth] / f"{number}.png").write_bytes(as_file(image))
    lines = "".join(f"{number}\t{label}\t{label}\n" for number, label in enumerate(LABELS))
    (at / "classes.tsv").write_text(lines)
    return {name: at / name for name in ("cifar", "folder", "classes.tsv")}


@pytest.fixture(scope="module")
def top1() -> float:
    """Computed with the graphs alone: pixels, tokens, cosines, and which is the largest."""
    manifest, tokenizer = read_manifest(DEMO), load_tokenizer(DEMO, read_manifest(DEMO).text)
    images, truths = zip(*cuts(), strict=True)
    pixels = np.stack([decode_pixels(as_file(image), manifest.image, ImageLimits()) for image in images])
    (template,) = manifest.prompt_templates
    prompts = [fill(template, label) for label in LABELS]
    vectors = Graph(DEMO / IMAGE_GRAPH).run({"pixels": pixels})
    graph = Graph(DEMO / TEXT_GRAPH)
    labels = np.concatenate([graph.run(feeds) for feeds in text_feeds(prompts, tokenizer, manifest.text)])
    share = float(((vectors @ labels.T).argmax(axis=1) == truths).mean())
    assert 0.1 < share < 0.9  # a measure that is always right, or never, measures nothing
    return share


def test_top1_is_that_of_the_graphs_alone(sets: dict[str, Path], top1: float, demo_process: Process) -> None:
    figures = evaluated(demo_process.url, sets["cifar"], sets["classes.tsv"]).figures
    assert (figures["images"], figures["classes"], figures["classes_that_occur"]) == (40, 10, 4)
    assert figures["top1"] == top1
    assert figures["top5"] >= top1


# `clipserve models`, whose process is killed as soon as it has kept its fifth answer.
KILLED = """
import os, signal, sys
from clipserve_models.__main__ import main
from clipserve_models.evaluation.journal import Journal

append = Journal.append

def append_until_killed(journal, row):
    append(journal, row)
    if len(journal.rows()) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.append = append_until_killed
main(sys.argv[1:])
"""


def test_an_evaluation_that_is_killed_goes_on_and_its_report_is_the_same(
    sets: dict[str, Path], demo_process: Process, tmp_path: Path
) -> None:
    # One after another, and one request at a time: rows that share a batch with others' may differ in the last bit.
    data = [str(sets["cifar"]), "--url", demo_process.url, "--in-flight", "1"]
    whole = ask("evaluate", *data, "--out", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-c", KILLED, "evaluate", *data, "--out", str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONPATH": "service:models"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    answers = tmp_path / "killed" / JOURNAL
    all_of_them, kept = (tmp_path / "whole" / JOURNAL).read_bytes(), answers.read_bytes()
    row = 4 * (len(LABELS) + 1)
    assert all_of_them[: len(all_of_them) - (4 * CUTS - 5) * row] == kept
    assert not (tmp_path / "killed/report.json").exists()
    with answers.open("ab") as file:
        file.write(b"\0\0\0")  # half a number, as a full disk leaves it
    resumed = ask("evaluate", *data, "--out", str(tmp_path / "killed"))
    assert (resumed.returncode, resumed.stdout) == (0, whole.stdout), resumed.stderr
    for name in ("report.json", "report.md", JOURNAL):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # It asks for nothing that is there: no service is needed for the labels or the images.
    again = ask("evaluate", *data, "--out", str(tmp_path / "killed"))
    assert again.stdout == whole.stdout
    other = ask("evaluate", *data, "--template", "a {}", "--out", str(tmp_path / "killed"))
    assert (other.returncode, other.stdout) == (1, "")
    assert "has answers of another evaluation: templates differ." in other.stderr
    anew = ask("evaluate", *data, "--template", "a {}", "--out", str(tmp_path / "killed"), "--restart")
    assert anew.returncode == 0
    assert "templates `a {}`" in anew.stdout


def test_answers_are_taken_from_the_journal_and_not_asked_again(tmp_path: Path) -> None:
    about = {"data": "x"}
    with Journal(tmp_path / "a", about, 2) as journal:
        journal.append(np.array([1, 2], np.float32))
        with pytest.raises(ModelsError, match="is being written by another evaluation"):
            Journal(tmp_path / "a", about, 2)
        with pytest.raises(ModelsError, match="is being written by another evaluation"):
            forget(tmp_path / "a")
    with Journal(tmp_path / "a", about, 2) as journal:
        assert journal.kept == 1
        journal.append(np.array([3, 4], np.float32))
        assert journal.rows().tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ModelsError, match=r"data, numbers differ\. Give another folder to --out"):
        Journal(tmp_path / "a", {"data": "y"}, 3)


def test_a_journal_of_half_a_head_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"data": "x", "num')
    with Journal(tmp_path / "a", {"data": "x"}, 1) as journal:
        assert journal.kept == 0
        journal.append(np.array([5], np.float32))
    with Journal(tmp_path / "a", {"data": "x"}, 1) as journal:
        assert journal.rows().tolist() == [[5]]


def test_photos_are_found_by_their_captions_and_captions_by_their_photos(
    demo_process: Process, tmp_path: Path
) -> None:
    captions = {"cat": ["a cat", "a tabby"], "rocket": ["a rocket"], "coffee": ["a cup of coffee"]}
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "caption"])
        for name, sentences in captions.items():
            Image.fromarray(getattr(skimage.data, name)()).save(tmp_path / f"{name}.png")
            lines.writerows([f"{name}.png", each] for each in sentences)
    report = evaluated(demo_process.url, tmp_path / "captions.csv", out=tmp_path / "out")
    all_found = {"recall_at_1": 1.0, "recall_at_5": 1.0, "recall_at_10": 1.0}
    assert report.figures == {
        "images": 3,
        "captions": 4,
        "captions_of_an_image": all_found,
        "image_of_a_caption": all_found,
        "mean_recall_at_1": 1.0,
    }
    assert "3 images with 4 captions." in report.as_markdown()
    assert json.loads((tmp_path / "out/report.json").read_text())["figures"] == report.figures
    # Captions that are exchanged are found at another photo.
    swapped = (
        (tmp_path / "captions.csv")
        .read_text()
        .replace("a rocket", "a cup")
        .replace("a cup of coffee", "a rocket")
    )
    (tmp_path / "captions.csv").write_text(swapped)
    assert evaluated(demo_process.url, tmp_path / "captions.csv").figures["mean_recall_at_1"] < 0.8


def test_photos_of_several_classes_have_a_mean_average_precision(
    sets: dict[str, Path], demo_process: Process, tmp_path: Path
) -> None:
    rows = [
        {"path": str(path), "labels": [path.parent.name, "dog"] if number % 2 else [path.parent.name]}
        for number, path in enumerate(sorted(sets["folder"].rglob("*.png"))[::5])
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "several.parquet")
    report = evaluated(demo_process.url, tmp_path / "several.parquet", sets["classes.tsv"])
    assert 0 < report.figures["mean_average_precision"] < 1
    assert "mean_per_class" not in report.figures
    assert "| mean average precision, 11 points |" in report.as_markdown()


def near(value: Any) -> Any:
    """The value, of which each fraction may be off by two of its last shown digits."""
    if isinstance(value, dict):
        return {key: near(each) for key, each in value.items()}
    if isinstance(value, list):
        return [near(each) for each in value]
    return pytest.approx(value, abs=2e-4) if isinstance(value, float) else value


def test_many_labels_are_prepared_some_at_a_time(
    sets: dict[str, Path], demo_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-7",))
    monkeypatch.setattr("clipserve_models.evaluation.asking._PROMPTS", 21)
    parts = evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-7",))
    # Other neighbours in a batch change the last bits.
    assert parts.figures == near(whole.figures)
    assert replace(parts, figures={}) == replace(whole, figures={})
    with pytest.raises(ModelsError, match="template 0 has no slot"):
        evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-8",))


def test_in_this_process_the_figures_are_those_of_a_service(
    sets: dict[str, Path], top1: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    told = ask("evaluate", str(sets["cifar"]), "--in-process")
    assert told.returncode == 0, told.stderr
    assert f"| right label first (top-1) | {top1:.2%} |" in told.stdout
