"""Zero-shot accuracy of a running service, measured as its users see it: over HTTP."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipserve import Client, ClipserveError
from clipserve_models.errors import ModelsError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class Accuracy:
    """Of `photos` photos, how many have their label first, and among the first five."""

    photos: int
    labels: int
    top1: float
    top5: float
    fingerprint: str

    def __str__(self) -> str:
        return (
            f"{self.fingerprint}: top-1 {self.top1:.1%}, top-5 {self.top5:.1%} "
            f"({self.photos} photos, {self.labels:,} labels)"
        )


def read_classes(path: Path) -> dict[str, str]:
    """Key -> label, from lines of `index <tab> key <tab> label`, as in ImageNet's lists.

    Raises:
        ModelsError: a line has another form.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if bad := next((i for i, row in enumerate(rows, 1) if len(row) != 3), None):
        raise ModelsError(f"{path}, line {bad}: expected index, key and label, separated by tabs.")
    return {key: label for _, key, label in rows}


def labelled_photos(folder: Path, classes: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """The photos that have a label, each with it.

    A photo's key is the name of its folder (ImageNet's layout), or the part of its own name before the first `_`.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES:
            for key in (path.parent.name, path.stem.partition("_")[0]):
                if key in classes:
                    yield path, classes[key]
                    break


def evaluate(
    url: str, folder: Path, classes: Path, templates: list[str], label_set: str | None = None
) -> Accuracy:
    """Classify each photo among all labels, many at a time.

    Two classes with the same name (ImageNet has "crane" and "maillot" twice) count as one label.
    `label_set`: of the service, with these labels, which may have prompts and examples of their own.

    Raises:
        ModelsError: there are no photos, or the service refuses a request or cannot be reached.
    """
    by_key = read_classes(classes)
    labels = list(dict.fromkeys(by_key.values()))
    photos = list(labelled_photos(folder, by_key))
    if not photos:
        raise ModelsError(f"{folder} holds no photo whose folder or name begins with a key of {classes}.")
    asked = {"label_set": label_set} if label_set else {"labels": labels, "templates": templates}
    try:
        with Client(url, timeout=120) as client:
            answer = client.classify([path for path, _ in photos], **asked, top_k=5)
    except ClipserveError as error:
        raise ModelsError(f"{error}. Start a service: make run.") from None
    for position, failed in sorted(answer.errors.items()):
        raise ModelsError(f"{photos[position][0].name}: {failed}")
    first = among_five = 0
    for (_, truth), best in zip(photos, answer.labels, strict=True):
        first += best[0].label == truth
        among_five += truth in [each.label for each in best]
    count = len(photos)
    return Accuracy(count, len(labels), first / count, among_five / count, answer.fingerprint)
