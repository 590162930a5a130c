"""Evaluations of the demo model: against arithmetic of its own, and by captions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

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
from tests.support.process import Process


@pytest.fixture(scope="module")
def top1(labelled: Path) -> float:
    """Of the test photos, by the graphs alone: pixels, tokens, cosines, and which is the largest."""
    manifest, tokenizer = read_manifest(DEMO), load_tokenizer(DEMO, read_manifest(DEMO).text)
    paths = sorted((labelled / "test").rglob("*.png"))
    names = sorted({path.parent.name for path in paths})
    pixels = np.stack([decode_pixels(path.read_bytes(), manifest.image, ImageLimits()) for path in paths])
    prompts = [fill(template, name) for template in manifest.prompt_templates for name in names]
    vectors, graph = Graph(DEMO / IMAGE_GRAPH).run({"pixels": pixels}), Graph(DEMO / TEXT_GRAPH)
    labels = np.concatenate([graph.run(feeds) for feeds in text_feeds(prompts, tokenizer, manifest.text)])
    found = (vectors @ labels.T).argmax(axis=1)
    share = float(np.mean([names[at] == path.parent.name for at, path in zip(found, paths, strict=True)]))
    assert 0.1 < share < 0.9  # a measure that is always right, or never, measures nothing
    return share


def test_top1_is_that_of_the_graphs_alone_by_a_service_and_in_this_process(
    labelled: Path, top1: float, demo_process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = evaluated(demo_process.url, labelled / "test").figures
    assert (figures["images"], figures["classes"], figures["top1"]) == (16, 4, top1)
    monkeypatch.setenv("CLIPSERVE_BACKEND", "onnx")
    told = ask("evaluate", str(labelled / "test"), "--in-process", "--out", str(tmp_path))
    assert told.returncode == 0, told.stderr
    assert f"| right label first (top-1) | {top1:.2%} |" in told.stdout
    assert (tmp_path / "report.md").read_text() == told.stdout
    assert json.loads((tmp_path / "report.json").read_text())["figures"] == figures


def test_many_labels_are_prepared_some_at_a_time(
    labelled: Path, demo_process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluated(demo_process.url, labelled / "test", templates=("imagenet-7",))
    # It is 256: more than four labels make with seven templates.
    monkeypatch.setattr("clipserve_models.evaluation.asking._PROMPTS", 21)
    assert evaluated(demo_process.url, labelled / "test", templates=("imagenet-7",)) == whole
    with pytest.raises(ModelsError, match="template 0 has no slot"):
        evaluated(demo_process.url, labelled / "test", templates=("imagenet-8",))


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
