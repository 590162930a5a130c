"""Evaluations of the demo model: against arithmetic of its own, and by captions."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image

from clipserve.client.images import as_file
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.prompts import fill
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.variants.samples import text_feeds
from clipserve_models.verify import Graph
from tests.models.asking import ask
from tests.models.evaluation.asking import evaluated
from tests.process import Process

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
    report = evaluated(demo_process.url, tmp_path / "captions.csv")
    assert (report.figures["captions"], report.figures["mean_recall_at_1"]) == (4, 1.0)
    assert "3 images with 4 captions." in "\n".join(report.lines())
    # Captions that are exchanged are found at another photo.
    text = (tmp_path / "captions.csv").read_text()
    swapped = text.replace("a rocket", "a cup").replace("a cup of coffee", "a rocket")
    (tmp_path / "captions.csv").write_text(swapped)
    assert evaluated(demo_process.url, tmp_path / "captions.csv").figures["mean_recall_at_1"] < 0.8


def test_many_labels_are_prepared_some_at_a_time(
    sets: dict[str, Path], demo_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-7",))
    monkeypatch.setattr("clipserve_models.evaluation.asking._PROMPTS", 21)
    parts = evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-7",))
    assert parts == whole
    with pytest.raises(ModelsError, match="template 0 has no slot"):
        evaluated(demo_process.url, sets["folder"], sets["classes.tsv"], templates=("imagenet-8",))


def test_in_this_process_the_figures_are_those_of_a_service(
    sets: dict[str, Path], top1: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    told = ask("evaluate", str(sets["cifar"]), "--in-process", "--out", str(tmp_path / "out"))
    assert told.returncode == 0, told.stderr
    assert f"| right label first (top-1) | {top1:.2%} |" in told.stdout
    assert (tmp_path / "out/report.md").read_text() == told.stdout
    assert json.loads((tmp_path / "out/report.json").read_text())["figures"]["top1"] == top1
