"""Evaluations of the demo model: against arithmetic of its own, and by captions."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from clipserve.client.images import as_file
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.prompts import fill
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.variants.samples import text_feeds
from clipserve_models.verify import Graph
from tests.models.asking import ask
from tests.models.evaluation.asking import evaluated
from tests.process import Process

LABELS = [*TEMPLATE_SETS["cifar10"].class_names]
PHOTOS = {"cat": 3, "rocket": 0, "coffee": 8, "astronaut": 5}  # and what they may pass for
CUTS = 10  # of each photograph, so that some are right and some wrong


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A file as CIFAR-10's; its top-1 by the graphs alone: pixels, tokens, cosines, and which is the largest."""
    images, truths = [], []
    for name, truth in PHOTOS.items():
        photo = Image.fromarray(getattr(skimage.data, name)())
        for step in range(0, 8 * CUTS, 8):
            box = (step, step, photo.width - step, photo.height - step)
            images.append(np.asarray(photo.resize((32, 32), box=box)))
            truths.append(truth)
    at = tmp_path_factory.mktemp("cifar")
    rows = np.stack([image.transpose(2, 0, 1).ravel() for image in images])
    (at / "test_batch").write_bytes(pickle.dumps({b"data": rows, b"labels": truths}, 2))
    names = [label.encode() for label in LABELS]
    (at / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, 2))

    manifest, tokenizer = read_manifest(DEMO), load_tokenizer(DEMO, read_manifest(DEMO).text)
    pixels = np.stack([decode_pixels(as_file(image), manifest.image, ImageLimits()) for image in images])
    prompts = [fill(template, label) for template in manifest.prompt_templates for label in LABELS]
    vectors, graph = Graph(DEMO / IMAGE_GRAPH).run({"pixels": pixels}), Graph(DEMO / TEXT_GRAPH)
    labels = np.concatenate([graph.run(feeds) for feeds in text_feeds(prompts, tokenizer, manifest.text)])
    share = float(((vectors @ labels.T).argmax(axis=1) == truths).mean())
    assert 0.1 < share < 0.9  # a measure that is always right, or never, measures nothing
    return at, share


def test_top1_is_that_of_the_graphs_alone_by_a_service_and_in_this_process(
    cifar: tuple[Path, float], demo_process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, top1 = cifar
    figures = evaluated(demo_process.url, data).figures
    assert (figures["images"], figures["classes"], figures["classes_that_occur"]) == (40, 10, 4)
    assert figures["top1"] == top1
    assert figures["top5"] >= top1
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    told = ask("evaluate", str(data), "--in-process", "--out", str(tmp_path))
    assert told.returncode == 0, told.stderr
    assert f"| right label first (top-1) | {top1:.2%} |" in told.stdout
    assert (tmp_path / "report.md").read_text() == told.stdout
    assert json.loads((tmp_path / "report.json").read_text())["figures"] == figures


def test_many_labels_are_prepared_some_at_a_time(
    cifar: tuple[Path, float], demo_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(demo_process.url, cifar[0], templates=("imagenet-7",))
    monkeypatch.setattr("clipserve_models.evaluation.asking._PROMPTS", 21)
    assert evaluated(demo_process.url, cifar[0], templates=("imagenet-7",)) == whole
    with pytest.raises(ModelsError, match="template 0 has no slot"):
        evaluated(demo_process.url, cifar[0], templates=("imagenet-8",))


def test_photos_are_found_by_their_captions_and_captions_by_their_photos(
    demo_process: Process, tmp_path: Path
) -> None:
    captions = {"cat": ["a cat", "a tabby"], "rocket": ["a rocket"], "coffee": ["a cup of coffee"]}
    rows = [["path", "caption"]]
    for name, sentences in captions.items():
        Image.fromarray(getattr(skimage.data, name)()).save(tmp_path / f"{name}.png")
        rows += [[f"{name}.png", each] for each in sentences]
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    report = evaluated(demo_process.url, tmp_path / "captions.csv")
    assert (report.figures["captions"], report.figures["mean_recall_at_1"]) == (4, 1.0)
    assert "3 images with 4 captions." in "\n".join(report.lines())
    # Captions that are exchanged are found at another photo.
    text = (tmp_path / "captions.csv").read_text()
    swapped = text.replace("a rocket", "a cup").replace("a cup of coffee", "a rocket")
    (tmp_path / "captions.csv").write_text(swapped)
    assert evaluated(demo_process.url, tmp_path / "captions.csv").figures["mean_recall_at_1"] < 0.8
