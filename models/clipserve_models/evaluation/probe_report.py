"""The report of a linear probe, as JSON, as Markdown and as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from clipserve_models.evaluation.curve import curve
from clipserve_models.evaluation.figures import Figures
from clipserve_models.evaluation.presets import verdict
from clipserve_models.evaluation.report import SHARES, Report, asked_of, percent, table


@dataclass(frozen=True)
class FewShots:
    """`top1` of each repetition, trained on `images` images of each class."""

    images: int
    top1: list[float]

    @property
    def mean(self) -> float:
        return sum(self.top1) / len(self.top1)


@dataclass(frozen=True)
class ProbeReport:
    """Figures of the test part, zero-shot and of the probe; see `clipserve_models.evaluation.figures`.

    Attributes:
        test: the name of the data to test on; None: a part of the data was set apart.
        learned_classes: the classes that have an image in the training part.
        c, values_of_c: the value of C that was chosen, of so many tried; `validation_top1`: what it was chosen by.
        converged: whether the last fit ended before its most iterations.
    """

    zero_shot: Report
    test: str | None
    seed: int
    training_images: int
    learned_classes: int
    c: float
    values_of_c: int
    validation_top1: float
    converged: bool
    probe: Figures
    shots: list[FewShots]

    def as_json(self) -> str:
        return json.dumps({"format": 1, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        return "\n".join(_lines(self)) + "\n"

    def picture(self) -> str:
        """The curve of the shots, SVG."""
        points = [(f"{each.images}", each.mean, min(each.top1), max(each.top1)) for each in self.shots]
        whole = self.probe["top1"]
        return curve([*points, ("all", whole, whole, whole)], self.zero_shot.figures["top1"])

    def write(self, folder: Path) -> None:
        """report.json and report.md; with shots curve.svg."""
        (folder / "report.json").write_text(self.as_json(), "utf-8")
        (folder / "report.md").write_text(self.as_markdown(), "utf-8")
        if self.shots:
            (folder / "curve.svg").write_text(self.picture(), "utf-8")


def _lines(report: ProbeReport) -> Iterator[str]:
    before, after, asked = report.zero_shot.figures, report.probe, asked_of(report.zero_shot.asked)
    of = report.test or f"set apart with seed {report.seed}"
    yield f"# A linear probe of {report.zero_shot.fingerprint} on {report.zero_shot.data}\n"
    yield f"{report.training_images:,} images to train on, of {report.learned_classes:,} classes."
    yield f"{before['images']:,} to test on, {of}, of {before['classes_that_occur']:,} classes.\n"
    chosen = f"top-1 {percent(report.validation_top1)} on a fifth of the training images"
    yield f"C = {report.c:g}, the best of {report.values_of_c}: {chosen}."
    if not report.converged:
        yield "The fit has not converged: its figures may be better with more images or another C."
    yield ""
    if report.zero_shot.expected:
        yield from (f"Zero-shot: {sentence}\n" for sentence in verdict(report.zero_shot.expected))
    both = [(name, percent(before[key]), percent(after[key])) for key, name in SHARES.items() if key in after]
    errors = [figures["calibration"] for figures in (before, after)]
    if all(errors):
        both.append(
            ("calibration error (ECE, 15 bins)", percent(errors[0]["error"]), percent(errors[1]["error"]))
        )
    yield from table(("figure", f"zero-shot, {asked}", "linear probe"), *both)
    if report.shots:
        yield f"\n## Trained on few images of each class, {len(report.shots[0].top1)} times\n"
        rows = [
            (each.images, *map(percent, (each.mean, min(each.top1), max(each.top1)))) for each in report.shots
        ]
        yield from table(("images", "top-1, mean", "lowest", "highest"), *rows)
