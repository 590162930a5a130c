"""An evaluation as JSON and as Markdown. Neither has times or addresses: the same answers are the same report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipserve_models.evaluation.figures import Figures
from clipserve_models.evaluation.presets import verdict


@dataclass(frozen=True)
class Report:
    """What was asked of which model, and how right it was.

    Attributes:
        data: the name of the file or folder.
        asked: templates, or the label set; nothing for captions.
        figures: see `clipserve_models.evaluation.figures`.
        expected: of a preset, see `clipserve_models.evaluation.presets.compared`.
    """

    model: str
    fingerprint: str
    data: str
    asked: dict[str, Any]
    figures: Figures
    expected: Figures | None = None

    def as_json(self) -> str:
        return json.dumps({"format": 1, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    def as_markdown(self) -> str:
        return "\n".join(_lines(self)) + "\n"

    def write(self, folder: Path) -> None:
        """report.json and report.md."""
        (folder / "report.json").write_text(self.as_json(), "utf-8")
        (folder / "report.md").write_text(self.as_markdown(), "utf-8")


def _lines(report: Report) -> Iterator[str]:
    yield f"# {report.fingerprint} on {report.data}\n"
    figures = report.figures
    if "captions" in figures:
        yield f"{figures['images']:,} images with {figures['captions']:,} captions.\n"
        yield from _expected(report.expected)
        yield from _of_captions(figures)
        return
    yield f"{figures['images']:,} images, {figures['classes']:,} classes, {_asked(report.asked)}.\n"
    yield from _expected(report.expected)
    yield from _of_labels(figures)


def _expected(told: Figures | None) -> Iterator[str]:
    yield from (f"{sentence}\n" for sentence in (verdict(told) if told else ()))


def _asked(asked: dict[str, Any]) -> str:
    if asked.get("label_set"):
        return f"label set {_cell(asked['label_set'])}"
    templates: list[str] = asked.get("templates") or []
    if not templates:
        return "the model's own template"
    return f"templates {', '.join(f'`{each}`' for each in templates)}"


def _of_labels(figures: Figures) -> Iterator[str]:
    names = {
        "top1": "right label first (top-1)",
        "top5": "right label among the first five (top-5)",
        "mean_per_class": "top-1, mean over the classes",
        "mean_average_precision": "mean average precision, 11 points",
    }
    yield from ("| figure | |", "| --- | ---: |")
    yield from (f"| {name} | {_percent(figures[key])} |" for key, name in names.items() if key in figures)
    if calibration := figures.get("calibration"):
        yield f"| mean score of the first label | {_percent(calibration['mean_score'])} |"
        yield f"| calibration error (ECE, 15 bins) | {_percent(calibration['error'])} |"
        yield (
            f"| the same with temperature {calibration['best_temperature']:g}, the best for these images | "
            f"{_percent(calibration['error_at_best_temperature'])} |"
        )
    if pairs := figures.get("confusions"):
        yield from (
            "\n## Taken for each other\n",
            "| is | is taken for | times | of |",
            "| --- | --- | ---: | ---: |",
        )
        yield from (
            f"| {_cell(p['truth'])} | {_cell(p['said'])} | {p['times']:,} | {p['of']:,} |" for p in pairs
        )
    if mistakes := figures.get("surest_mistakes"):
        yield from (
            "\n## The surest mistakes\n",
            "| item | is | is taken for | score |",
            "| --- | --- | --- | ---: |",
        )
        for each in mistakes:
            cells = map(_cell, (each["item"], each["truth"], each["said"]))
            yield f"| {' | '.join(cells)} | {each['score']:.3f} |"


def _of_captions(figures: Figures) -> Iterator[str]:
    yield from ("| recall | at 1 | at 5 | at 10 |", "| --- | ---: | ---: | ---: |")
    for key, name in (
        ("captions_of_an_image", "a caption of the image"),
        ("image_of_a_caption", "the image of the caption"),
    ):
        yield f"| {name} | {' | '.join(map(_percent, figures[key].values()))} |"


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
