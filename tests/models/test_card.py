"""`clipserve models card`."""

import json
from pathlib import Path

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import Variant
from clipserve.demo import FOLDER as DEMO
from clipserve_models.evaluation.report import Report
from tests.models.asking import ask
from tests.process import copy_of_demo

FIGURES = {
    "images": 4,
    "classes": 3,
    "classes_that_occur": 3,
    "top1": 0.75,
    "mean_per_class": 0.5,
    "confusions": [],
}
REPORT = Report("demo", "demo@fp32-0", "pets", {"templates": ["{}"], "label_set": None}, FIGURES)


def test_a_card_says_what_the_manifest_and_an_evaluation_say(tmp_path: Path) -> None:
    REPORT.write(tmp_path)
    done = ask("card", str(DEMO), "--evaluation", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(DEMO)
    for line in (
        "# demo",
        f"| fingerprint | `{manifest.fingerprint()}` |",
        f"| licence of the weights | {manifest.source.licence} |",
        "| vectors | 384 numbers, of unit length |",
        "## Evaluation on pets",
        "4 images, 3 classes, templates `{}`.",
        "| right label first (top-1) | 75.00% |",
    ):
        assert line in done.stdout.splitlines(), line
    assert "Evaluation" not in ask("card", str(DEMO)).stdout


def test_a_report_of_another_model_or_none_is_refused(tmp_path: Path) -> None:
    REPORT.write(tmp_path)
    report = tmp_path / "report.json"
    report.write_text(report.read_text().replace('"model": "demo"', '"model": "RN50"'))
    refused = ask("card", str(DEMO), "--evaluation", str(report))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is of RN50, and the artifact is demo." in refused.stderr
    for content in ("{}", "[]", "no JSON"):
        report.write_text(content)
        assert (
            "is no report of `clipserve models evaluate`"
            in ask("card", str(DEMO), "--evaluation", str(report)).stderr
        )


def test_the_card_of_a_variant_says_how_near_it_is_to_what_it_was_made_of(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    told = json.loads((copy / "model.json").read_text())
    variant = Variant(
        made_of="demo@fp32-1", towers=["image"], calibration_photos=0, photos=40, labels=3, mean_cosine=0.998,
        p1_cosine=0.99, text_mean_cosine=1.0, text_p1_cosine=1.0, batch_cosine=1.0, top1_agreement=0.975,
    )  # fmt: skip
    told |= {"variant": variant.model_dump(), "source": told["source"] | {"random_weights": True}}
    (copy / "model.json").write_text(json.dumps(told))
    lines = ask("card", str(copy)).stdout.splitlines()
    assert "| made of | demo@fp32-1 |" in lines
    assert "| photos with the same first label | 97.50% |" in lines
    assert "| training | **none: the weights are random, for timing and tests** |" in lines
