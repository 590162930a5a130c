"""An evaluation as JSON and as Markdown. Neither has times or addresses: the same answers are the same report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipserve_models.evaluation.figures import Figures
from clipserve_models.evaluation.presets import verdict

# Figures that are shares, as people read them.
SHARES = {
    "top1": "right label first (top-1)",
    "top5": "right label among the first five (top-5)",
    "mean_per_class": "top-1, mean over the classes",
    "mean_average_precision": "mean average precision, 11 points",
}
_RECALLS = {
    "captions_of_an_image": "a caption of the image",
    "image_of_a_caption": "the image of the caption",
}
_LISTS = {
    "confusions": ("Taken for each other", ("is", "is taken for", "times", "of")),
    "surest_mistakes": ("The surest mistakes", ("item", "is", "is taken for", "score")),
}


@dataclass(frozen=True)
class Report:
    """What was asked of which model, and its figures.

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


def table(*rows: Iterable[object]) -> Iterator[str]:
    """Lines of Markdown; the first row is the head."""
    for number, row in enumerate(rows):
        cells = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
        yield f"| {' | '.join(cells)} |"
        if not number:
            yield "| " + " | ".join("---" for _ in cells) + " |"


def _lines(report: Report) -> Iterator[str]:
    figures = report.figures
    yield f"# {report.fingerprint} on {report.data}\n"
    if "captions" in figures:
        yield f"{figures['images']:,} images with {figures['captions']:,} captions.\n"
    else:
        yield f"{figures['images']:,} images, {figures['classes']:,} classes, {asked_of(report.asked)}.\n"
    if report.expected:
        yield from (f"{sentence}\n" for sentence in verdict(report.expected))
    if "captions" in figures:
        recalls = [(name, *map(percent, figures[key].values())) for key, name in _RECALLS.items()]
        yield from table(("recall", "at 1", "at 5", "at 10"), *recalls)
    else:
        shares = [(name, percent(figures[key])) for key, name in SHARES.items() if key in figures]
        yield from table(("figure", ""), *shares, *_calibration(figures.get("calibration")))
    for key, (title, head) in _LISTS.items():
        if figures.get(key):
            yield f"\n## {title}\n"
            yield from table(head, *(each.values() for each in figures[key]))
    if "reference" in figures:
        yield from _beside(figures["reference"])


def _beside(told: Figures) -> Iterator[str]:
    yield f"\n## Beside open_clip in PyTorch\n\n{told['of']}\n"
    images, texts, alone = told["image_cosine"], told["text_cosine"], told["right_alone"]
    odd = "; ".join(f"{what}: {times:,}" for what, times in told["in_their_files"].items())
    yield from table(
        ("figure", ""),
        ("items", f"{told['items']:,}"),
        ("top-1 of the service", percent(told["top1"]["service"])),
        ("top-1 of open_clip", percent(told["top1"]["open_clip"])),
        ("both have the same first", percent(told["agreement"])),
        ("cosine of an image's two vectors, lowest", f"{images['lowest']:.6f}"),
        ("cosine of an image's two vectors, mean", f"{images['mean']:.6f}"),
        (f"cosine of a text's two vectors, lowest: {texts['text']}", f"{texts['lowest']:.6f}"),
        ("right in the service alone, in open_clip alone", f"{alone['service']:,}, {alone['open_clip']:,}"),
        ("p of McNemar's exact test: both are right equally often", f"{told['mcnemar_p']:g}"),
        (
            f"items that differ: another first, or a cosine below {told['least_cosine']}",
            f"{told['differing']:,}",
        ),
        *([("what is in their files", odd)] if odd else []),
    )
    if told["items_that_differ"]:
        yield "\n## Items that differ from open_clip\n"
        head = ("item", "cosine", "the service says", "open_clip says", "its lead", "in its file")
        yield from table(head, *(each.values() for each in told["items_that_differ"]))


def asked_of(asked: dict[str, Any]) -> str:
    """`Report.asked`, for people."""
    if asked.get("label_set"):
        return f"label set {asked['label_set']}"
    templates = ", ".join(f"`{each}`" for each in asked.get("templates", ()))
    return f"templates {templates}" if templates else "the model's own template"


def _calibration(told: Figures | None) -> Iterator[tuple[str, str]]:
    if told:
        yield "mean score of the first label", percent(told["mean_score"])
        yield "calibration error (ECE, 15 bins)", percent(told["error"])
        best = f"the same with temperature {told['best_temperature']:g}, the best for these images"
        yield best, percent(told["error_at_best_temperature"])


def percent(share: float) -> str:
    """0.5 -> 50.00%."""
    return f"{share:.2%}"
