"""Zero-shot accuracy of a running service, measured as its users see it: over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from clipserve import Client, ClipserveError
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import Classes, classes_of
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.reading import read_items

_ITEMS = 100  # between two looks at whether one has failed, which ends the evaluation


@dataclass(frozen=True)
class Accuracy:
    """Of `photos` photos, how many have a right label first, and among the first five."""

    photos: int
    labels: int
    top1: float
    top5: float
    fingerprint: str

    def __str__(self) -> str:
        return (
            f"{self.fingerprint}: top-1 {self.top1:.1%}, top-5 {self.top5:.1%} "
            f"({self.photos:,} photos, {self.labels:,} labels)"
        )


def evaluate(
    url: str, data: Path, classes: Path | None, templates: list[str], label_set: str | None = None
) -> Accuracy:
    """Classify each photo among all labels, many at a time.

    `classes`: a file; None: those that the data bring along. `label_set`: of the service, with these labels, which
    may have prompts and examples of their own, and a threshold: a photo without a label counts as wrong.

    Raises:
        ModelsError: there are no photos, or templates beside a label set, or the service refuses a request or
            cannot be reached, or its model changes.
    """
    if label_set and templates:
        raise ModelsError("a label set has templates of its own: give --template or --label-set, not both.")
    names = (name for item in read_items(data) for name in item.classes)
    chosen = classes_of(classes, data, names)
    asked = {"label_set": label_set} if label_set else {"labels": chosen.labels, "templates": templates}
    try:
        ranks, fingerprint = _ranks(url, read_items(data, chosen.keys), chosen, asked)
    except ClipserveError as error:
        raise ModelsError(f"{error}. Start a service: make run.") from None
    if not ranks:
        raise ModelsError(f"{data} holds no photo whose folder or name begins with a key of {classes}.")
    first, five = (sum(rank < k for rank in ranks) / len(ranks) for k in (1, 5))
    return Accuracy(len(ranks), len(chosen.labels), first, five, fingerprint)


def _ranks(url: str, items: Iterator[Item], classes: Classes, asked: dict[str, Any]) -> tuple[list[int], str]:
    """Of each photo how many labels come before a right one, five where none is right; and the fingerprint.

    Raises:
        ClipserveError: as `Client.classify`.
        ModelsError: a photo cannot be classified, or the model has changed.
    """
    ranks: list[int] = []
    fingerprints = set[str]()
    with Client(url, timeout=120) as client:
        while some := list(islice(items, _ITEMS)):
            right = [{classes.labels[place] for place in classes.of(item)} for item in some]
            answer = client.classify([item.image for item in some], **asked, top_k=5)
            for position, failed in sorted(answer.errors.items()):
                raise ModelsError(f"{some[position].id}: {failed}")
            for truths, labels in zip(right, answer.labels, strict=True):
                ranks.append(next((i for i, each in enumerate(labels) if each.label in truths), 5))
            fingerprints.add(answer.fingerprint)
    if len(fingerprints) > 1:
        raise ModelsError("the model of the service has changed meanwhile. Evaluate it again.")
    return ranks, next(iter(fingerprints), "")
