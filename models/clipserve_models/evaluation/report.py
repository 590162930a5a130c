"""An evaluation as JSON and as Markdown. Neither has times or addresses: the same answers are the same report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipserve.commands.printing import say
from clipserve_models.evaluation.figures import Figures

# Figures that are shares, as people read them.
SHARES = {
    "top1": "right label first (top-1)",
    "top5": "right label among the first five (top-5)",
    "mean_per_class": "top-1, mean over the classes",
}
_RECALLS = {
    "captions_of_an_image": "a caption of the image",
    "image_of_a_caption": "the image of the caption",
}


@dataclass(frozen=True)
class Report:
    """What was asked of which model, and its figures.

    Attributes:
        data: the name of the file or folder.
        asked: templates, or the label set; nothing for captions.
        figures: see `clipserve_models.evaluation.figures`.
    """

    model: str
    fingerprint: str
    data: str
    asked: dict[str, Any]
    figures: Figures

    def lines(self) -> Iterator[str]:
        """Of Markdown."""
        figures = self.figures
        yield f"# {self.fingerprint} on {self.data}\n"
        if "captions" in figures:
            yield f"{figures['images']:,} images with {figures['captions']:,} captions.\n"
        else:
            yield f"{figures['images']:,} images, {figures['classes']:,} classes, {asked_of(self.asked)}.\n"
        if "captions" in figures:
            recalls = [(name, *map(percent, figures[key].values())) for key, name in _RECALLS.items()]
            yield from table(("recall", "at 1", "at 5", "at 10"), *recalls)
        else:
            shares = [(name, percent(figures[key])) for key, name in SHARES.items() if key in figures]
            yield from table(("figure", ""), *shares)


def publish(report: Any, folder: Path | None) -> None:
    """Print a report, a dataclass with `lines`, and write report.md and report.json to the folder, if given."""
    markdown = "\n".join(report.lines())
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        told = json.dumps({"format": 1, **asdict(report)}, indent=2, ensure_ascii=False)
        (folder / "report.json").write_text(f"{told}\n", "utf-8")
        (folder / "report.md").write_text(f"{markdown}\n", "utf-8")
    for line in markdown.splitlines():
        say(line)


def table(*rows: Iterable[object]) -> Iterator[str]:
    """Lines of Markdown; the first row is the head."""
    for number, row in enumerate(rows):
        cells = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        yield f"| {' | '.join(cells)} |"
        if not number:
            yield "| " + " | ".join("---" for _ in cells) + " |"


def asked_of(asked: dict[str, Any]) -> str:
    """`Report.asked`, for people."""
    if asked.get("label_set"):
        return f"label set {asked['label_set']}"
    templates = ", ".join(f"`{each}`" for each in asked.get("templates", ()))
    return f"templates {templates}" if templates else "the model's own template"


def percent(share: float) -> str:
    """0.5 -> 50.00%."""
    return f"{share:.2%}"
