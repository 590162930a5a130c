"""Zero-shot accuracy of a running service, measured as its users see it: over HTTP."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipserve import Client, ClipserveError
from clipserve_models.errors import ModelsError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_PHOTOS = 100  # between two looks at whether one has failed, which ends the evaluation


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
    `label_set`: of the service, with these labels, which may have prompts and examples of their own, and a
    threshold: a photo without a label counts as wrong.

    Raises:
        ModelsError: there are no photos, or templates beside a label set, or the service refuses a request or
            cannot be reached, or its model changes.
    """
    if label_set and templates:
        raise ModelsError("a label set has templates of its own: give --template or --label-set, not both.")
    by_key = read_classes(classes)
    labels = list(dict.fromkeys(by_key.values()))
    photos = list(labelled_photos(folder, by_key))
    if not photos:
        raise ModelsError(f"{folder} holds no photo whose folder or name begins with a key of {classes}.")
    asked = {"label_set": label_set} if label_set else {"labels": labels, "templates": templates}
    try:
        best, fingerprint = _best_labels(url, [path for path, _ in photos], asked)
    except ClipserveError as error:
        raise ModelsError(f"{error}. Start a service: make run.") from None
    truths, count = [truth for _, truth in photos], len(photos)
    first = sum(truth in five[:1] for truth, five in zip(truths, best, strict=True))
    among_five = sum(truth in five for truth, five in zip(truths, best, strict=True))
    return Accuracy(count, len(labels), first / count, among_five / count, fingerprint)


def _best_labels(url: str, photos: list[Path], asked: dict[str, Any]) -> tuple[list[list[str]], str]:
    """Of each photo at most five labels, best first, and the fingerprint of the model.

    Raises:
        ClipserveError: as `Client.classify`.
        ModelsError: a photo cannot be classified, or the model has changed.
    """
    best: list[list[str]] = []
    fingerprints = set[str]()
    with Client(url, timeout=120) as client:
        for start in range(0, len(photos), _PHOTOS):
            answer = client.classify(photos[start : start + _PHOTOS], **asked, top_k=5)
            for position, failed in sorted(answer.errors.items()):
                raise ModelsError(f"{photos[start + position].name}: {failed}")
            best += [[each.label for each in labels] for labels in answer.labels]
            fingerprints.add(answer.fingerprint)
    if len(fingerprints) > 1:
        raise ModelsError("the model of the service has changed meanwhile. Evaluate it again.")
    return best, fingerprints.pop()
