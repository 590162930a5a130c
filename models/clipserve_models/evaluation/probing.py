"""A linear probe: a classifier trained on a model's vectors of labelled images, beside the zero-shot one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from clipserve.client.methods import AsyncMethods
from clipserve.commands.progress import Shown
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.classes import Classes, classes_in, read_classes
from clipserve_models.evaluation.figures import of_labels, rounded
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.logistic import Linear, Part, fitted, of_few, shares, swept
from clipserve_models.evaluation.measuring import VECTORS, Plan, by_preset, classify, truths_of, vectors_of
from clipserve_models.evaluation.probe_report import FewShots, ProbeReport
from clipserve_models.evaluation.reading import read_items
from clipserve_models.evaluation.report import Report

VALIDATION_SHARE = 0.2  # of the training part


@dataclass(frozen=True)
class ProbePlan(Plan):
    """What to train on and to test.

    Attributes:
        more: more files of the data, such as CIFAR's other batches.
        test: data to test on; None: `test_share` of each class's images are set apart for it, drawn by `seed`.
        shots: numbers of images of each class to train on too, each `repetitions` times.
    """

    more: tuple[Path, ...] = ()
    test: Path | None = None
    test_share: float = 0.2
    shots: tuple[int, ...] = ()
    repetitions: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Gathered:
    """The vectors of both parts. `tests`: the items of the test part; `zero_shot`: the model's accuracy there."""

    classes: Classes
    training: Part
    test: Part
    tests: list[Item]
    zero_shot: Report


async def gather(clip: AsyncMethods, plan: ProbePlan) -> Gathered:
    """Ask for the vectors of all images, and for the labels of those of the test part.

    Raises:
        ModelsError: an item has no class or several, or one has no answer, or `out` has answers of something else.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    plan = by_preset(plan, plan.preset) if plan.preset else plan
    given = read_classes(plan.classes) if plan.classes else None
    own = partial(_read, (plan.data, *plan.more), given)
    others = partial(_read, (plan.test,) if plan.test else (), given)
    items = truths_of(own(), plan.data, plan.classes)
    count = len(items)
    items += truths_of(others(), plan.test, plan.classes) if plan.test else []
    classes = given or classes_in(plan.data, (name for item in items for name in item.classes))
    truths = np.array([_class_of(item, classes) for item in items], np.intp)
    if plan.test:
        training, test = np.split(np.arange(len(items)), [count])
    else:
        training, test = shares(truths, plan.test_share, np.random.default_rng(plan.seed))
    if not len(test):
        raise ModelsError(
            f"{plan.test_share:g} of each class give no image to test on: give more data, or --test."
        )
    if plan.out:
        plan.out.mkdir(parents=True, exist_ok=True)

    def images() -> Iterator[Item]:
        return chain(own(), others())

    def tested() -> Iterator[Item]:
        chosen = set(test.tolist())
        return (item for place, item in enumerate(images()) if place in chosen)

    tests = [items[place] for place in test]
    zero_shot = await classify(clip, plan, tests, classes, tested)
    both = Part(await vectors_of(clip, plan, VECTORS, items, images, ()), truths)
    return Gathered(classes, both.of(training), both.of(test), tests, zero_shot)


def learn(found: Gathered, plan: ProbePlan) -> tuple[ProbeReport, Linear]:
    """Choose C on a fifth of the training part, train on all of it, and test.

    Raises:
        ModelsError: there are too few images to train on.
    """
    training, test = found.training, found.test
    rest, validation = map(training.of, shares(training.truths, VALIDATION_SHARE, _rng(plan)))
    if len(np.unique(rest.truths)) < 2 or not len(validation.truths):
        raise ModelsError("training needs two classes, and three images of one of them: give more data.")
    tried = swept(rest, validation)
    model = fitted(training, tried[0].c)
    labels = found.classes.labels
    rows = model.rows(test.vectors, len(labels))
    report = ProbeReport(
        zero_shot=found.zero_shot,
        test=plan.test.name if plan.test else None,
        seed=plan.seed,
        training_images=len(training.truths),
        learned_classes=len(model.places),
        c=tried[0].c,
        validation_top1=rounded(tried[0].top1),
        values_of_c=len(tried),
        converged=model.converged,
        probe=of_labels(found.tests, rows, test.truths[:, np.newaxis].tolist(), labels),
        shots=[*_few(training, test, plan)],
    )
    return report, model


def _few(training: Part, test: Part, plan: ProbePlan) -> Iterator[FewShots]:
    with Shown("few-shot classifiers") as shown:
        shown.total = len(plan.shots) * plan.repetitions
        for shots in plan.shots:
            top1 = []
            for turn in range(plan.repetitions):
                top1.append(rounded(of_few(training, test, shots, _rng(plan, shots, turn))))
                shown.advance()
            yield FewShots(shots, top1)


def write_set(file: Path, found: Gathered, model: Linear) -> None:
    """The classifier as a label set: what `clipserve label-sets put` and CLIPSERVE_LABEL_SETS_FOLDER read."""
    served = found.zero_shot
    fields = {
        "labels": [found.classes.labels[place] for place in model.places],
        "model": served.model,
        "expect_fingerprint": served.fingerprint,
        "biases": model.biases.astype(np.float32).tolist(),
        "weights": base64.b64encode(model.weights.astype("<f4").tobytes()).decode(),
    }
    file.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _read(files: tuple[Path, ...], given: Classes | None) -> Iterator[Item]:
    return chain.from_iterable(read_items(file, given.keys if given else ()) for file in files)


def _class_of(item: Item, classes: Classes) -> int:
    places = classes.of(item)
    if len(places) > 1:
        raise ModelsError(f"{item.id} has {len(places)} classes: a probe needs images with one class.")
    return places[0]


def _rng(plan: ProbePlan, *more: int) -> np.random.Generator:
    return np.random.default_rng([plan.seed, *more])
