"""Published figures, and the sets they are of."""

from __future__ import annotations

import csv
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation import presets
from clipserve_models.evaluation.presets import compared, preset_of, published, read_presets, verdict
from tests.models.asking import ask
from tests.models.evaluation.data import pixels
from tests.process import Process

CIFAR = list(TEMPLATE_SETS["cifar10"].class_names)
WHOLE = {"images": 10_000, "classes": 10, "classes_that_occur": 10, "top1": 0.8979}


def told(model: str = "ViT-B-32", templates: tuple[str, ...] = ("cifar10",), **other: Any) -> list[str]:
    return [*verdict(compared(preset_of("cifar10"), model, WHOLE | other, CIFAR, templates))]


def test_the_expected_figure_stands_beside_the_measured_one() -> None:
    assert told() == ["Expected 89.83 (top1, open_clip's results table), got 89.79: within 0.3."]
    assert told("ViT-B-32@int8") == told()  # a variant is measured against what it was made of
    assert told(top1=0.8953) == ["Expected 89.83 (top1, open_clip's results table), got 89.53: within 0.3."]
    (off,) = told(top1=0.8952)
    assert off.endswith("got 89.52: **off by 0.31**, more than 0.3.")


def test_a_model_without_a_published_figure_has_none() -> None:
    none = ["For this model open_clip's results table has no top1 of cifar10."]
    assert [told("demo"), told("ViT-B-32-random"), told("MobileCLIP2-S0")] == [none] * 3


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"images": 9_999}, "it has 9,999 images, not 10,000"),
        ({"classes_that_occur": 8}, "2 of the classes have no image"),
        ({"templates": ()}, "it is asked without the templates cifar10"),
        ({"templates": ("cifar10", "a {}")}, "it is asked without the templates cifar10"),
    ],
)
def test_another_set_is_said_before_the_figure(other: dict[str, Any], said: str) -> None:
    first, second = told(**other)
    assert first == f"**Not the set of the published figure**: {said}."
    assert second.startswith("Expected 89.83")


def test_other_class_names_of_imagenet_are_another_set() -> None:
    names = ["tench"] * 1_000
    figures = {"images": 50_000, "classes": 1_000, "classes_that_occur": 1_000, "top1": 0.6332}
    first, second, note = verdict(
        compared(preset_of("imagenet"), "ViT-B-32", figures, names, ["imagenet-80"])
    )
    assert "the classes have other names than open_clip gives them" in first
    assert second == "Expected 63.32 (top1, open_clip's results table), got 63.32: within 0.3."
    assert note.startswith("imagenet: missile and sunglasses")


def test_what_the_data_cannot_have_is_said() -> None:
    captions = compared(preset_of("mscoco"), "ViT-B-32", {"images": 5, "top1": 0.5}, (), ())
    assert [*verdict(captions)] == [
        "**Not the set of the published figure**: it has no mean_recall_at_1; it has 5 images, not 5,000."
    ]


def test_every_preset_asks_for_what_there_is() -> None:
    for preset in read_presets().values():
        assert preset.templates is None or preset.templates in TEMPLATE_SETS
        if preset.names:
            assert len(TEMPLATE_SETS[preset.names].class_names) == preset.classes, preset.name
        assert 0 < (published(preset.name, "ViT-B-32") or 0) < 1
    with pytest.raises(
        ModelsError, match=r"there is no preset 'cifar11'\. There are: imagenet, imagenetv2, "
    ):
        preset_of("cifar11")


def test_every_published_row_is_of_a_model_of_the_catalog_and_all_of_openai_s_are_there() -> None:
    rows = list(csv.DictReader(io.StringIO(presets._PUBLISHED.read_text("utf-8"))))
    known = {(entry.model, entry.pretrained): entry.name for entry in read_catalog().values()}
    names = [known[row["model"], row["pretrained"]] for row in rows]
    assert len({*names}) == len(rows)
    openai = {entry.name for entry in read_catalog().values() if entry.pretrained == "openai"}
    assert len(openai) == 9
    assert openai <= {*names}
    for row in rows:
        assert row.keys() == {"model", "pretrained", *read_presets()}


# In percent: CIFAR-10, the pets (a mean per class), ImageNet.
@pytest.mark.parametrize(
    ("model", "figures"),
    [
        ("RN50", (71.57, 85.29, 59.82)),
        ("ViT-L-14-336", (94.93, 93.69, 76.56)),
        ("ViT-H-14", (97.45, 94.38, 77.96)),
    ],
)
def test_figures_stand_in_the_columns_of_their_sets(model: str, figures: tuple[float, ...]) -> None:
    found = [published(preset, model) for preset in ("cifar10", "oxford-pets", "imagenet")]
    assert found == pytest.approx([figure / 100 for figure in figures])


def test_a_preset_chooses_classes_templates_and_figure(demo_process: Process, tmp_path: Path) -> None:
    rows = np.stack([pixels(number).transpose(2, 0, 1).ravel() for number in range(3)])
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": rows, b"labels": [0, 1, 9]}, 2))
    words = ["evaluate", str(tmp_path), "--url", demo_process.url, "--preset", "cifar10"]
    done = ask(*words)
    assert done.returncode == 0, done.stderr
    _, _, asked, _, void, _, expected, *_ = done.stdout.splitlines()
    assert asked == "3 images, 10 classes, templates `cifar10`."
    assert void == (
        "**Not the set of the published figure**: it has 3 images, not 10,000; 7 of the classes have no image."
    )
    assert expected == "For this model open_clip's results table has no top1 of cifar10."
    own = ask(*words, "--template", "{}")
    assert "it is asked without the templates cifar10." in own.stdout
