"""`clipserve models probe`: a linear classifier on a model's vectors of labelled images, beside zero-shot."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from clipserve.client.methods import AsyncMethods
from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, open_clip
from clipserve.commands.running import run
from clipserve_models.errors import ModelsError
from clipserve_models.evaluate import (
    HERE,
    INTERRUPTED,
    ClassesOption,
    InProcess,
    Out,
    Plan,
    Template,
    Url,
    classified,
)
from clipserve_models.evaluation import logistic
from clipserve_models.evaluation.asking import vectors_of
from clipserve_models.evaluation.classes import Classes, classes_in, read_classes
from clipserve_models.evaluation.data import Item, read_items, truths_of
from clipserve_models.evaluation.figures import Figures, of_labels, rounded
from clipserve_models.evaluation.logistic import Part, shares
from clipserve_models.evaluation.report import SHARES, Report, asked_of, percent, publish, table

if TYPE_CHECKING:  # it takes seconds
    from sklearn.linear_model import LogisticRegression

VALIDATION_SHARE = 0.2  # of the training part


@dataclass(frozen=True)
class ProbePlan(Plan):
    """What to train on and to test.

    Attributes:
        more: more files of the data, such as CIFAR's other batches.
        test: data to test on; None: `test_share` of each class's images are set apart for it, drawn by `seed`.
    """

    more: tuple[Path, ...] = ()
    test: Path | None = None
    test_share: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Gathered:
    """The vectors of both parts. `zero_shot`: the model's accuracy on the test part."""

    classes: Classes
    training: Part
    test: Part
    zero_shot: Report


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

    def lines(self) -> Iterator[str]:
        """Of Markdown."""
        before, after, asked = self.zero_shot.figures, self.probe, asked_of(self.zero_shot.asked)
        of = self.test or f"set apart with seed {self.seed}"
        yield f"# A linear probe of {self.zero_shot.fingerprint} on {self.zero_shot.data}\n"
        yield f"{self.training_images:,} images to train on, of {self.learned_classes:,} classes."
        yield f"{before['images']:,} to test on, {of}, of {before['classes_that_occur']:,} classes.\n"
        chosen = f"top-1 {percent(self.validation_top1)} on a fifth of the training images"
        yield f"C = {self.c:g}, the best of {self.values_of_c}: {chosen}."
        if not self.converged:
            yield "The fit has not converged: its figures may be better with more images or another C."
        yield ""
        both = [(SHARES[key], percent(before[key]), percent(after[key])) for key in SHARES if key in after]
        yield from table(("figure", f"zero-shot, {asked}", "linear probe"), *both)


def probe(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Labelled images to train on, as for `evaluate`; several files are one data set.",
            exists=True,
        ),
    ],
    test: Annotated[
        Path | None, typer.Option(help="Labelled images to test on. Default: a part of DATA.", exists=True)
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(help="Without --test: the share of each class's images to test on.", min=0.01, max=0.9),
    ] = 0.2,
    classes: ClassesOption = None,
    template: Template = None,
    seed: Annotated[int, typer.Option(help="The seed of all random choices.", min=0)] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="A .npz file for the classifier.", dir_okay=False)
    ] = None,
    out: Out = None,
    url: Url = HERE,
    in_process: InProcess = False,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Train a linear classifier on a model's vectors of labelled images, and compare it with zero-shot.

    Needs scikit-learn. Prints the report.
    """
    first, *more = data
    plan = ProbePlan(first, classes, tuple(template or ()), None, tuple(more), test, test_share, seed)
    logistic.check_installed()  # before the images

    async def probed() -> int:
        async with open_clip(None if in_process else url, key, model, in_flight) as clip:
            found = await gather(clip, plan)
        for end in (signal.SIGINT, signal.SIGTERM):  # from here on nothing is awaited that these could cancel
            signal.signal(end, signal.default_int_handler)
        report, learned = learn(found, plan)
        if weights:
            write_weights(weights, found, learned)
        publish(report, out)
        return 0

    run(probed(), INTERRUPTED)


async def gather(clip: AsyncMethods, plan: ProbePlan) -> Gathered:
    """Ask for the vectors of all images, and for the labels of those of the test part.

    Raises:
        ModelsError: an item has no class or several, or one has no answer.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    given = read_classes(plan.classes) if plan.classes else None

    def images(*files: Path | None) -> Iterator[Item]:
        return chain.from_iterable(read_items(each, given.keys if given else ()) for each in files if each)

    items = truths_of(images(plan.data, *plan.more), plan.data, plan.classes)
    count = len(items)
    items += truths_of(images(plan.test), plan.test, plan.classes) if plan.test else []
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
    everything = (plan.data, *plan.more, plan.test)

    def tested() -> Iterator[Item]:
        chosen = set(test.tolist())
        return (item for place, item in enumerate(images(*everything)) if place in chosen)

    zero_shot = await classified(clip, plan, [items[place] for place in test], classes, tested)
    both = Part(await vectors_of(clip, images(*everything)), truths)
    return Gathered(classes, both.of(training), both.of(test), zero_shot)


def learn(found: Gathered, plan: ProbePlan) -> tuple[ProbeReport, LogisticRegression]:
    """Choose C on a fifth of the training part, train on all of it, and test.

    Raises:
        ModelsError: there are too few images to train on.
    """
    training, test = found.training, found.test
    parts = shares(training.truths, VALIDATION_SHARE, np.random.default_rng([plan.seed]))
    rest, validation = map(training.of, parts)
    if len(np.unique(rest.truths)) < 2 or not len(validation.truths):
        raise ModelsError("training needs two classes, and three images of one of them: give more data.")
    tried = logistic.swept(rest, validation)
    c, top1, _ = tried[0]
    model = logistic.fitted(training, c)
    weights, biases = logistic.rows_of(model)
    logits = np.full((len(test.truths), len(found.classes.labels)), -np.inf, np.float32)
    logits[:, model.classes_] = test.vectors @ weights.T + biases
    report = ProbeReport(
        zero_shot=found.zero_shot,
        test=plan.test.name if plan.test else None,
        seed=plan.seed,
        training_images=len(training.truths),
        learned_classes=len(model.classes_),
        c=c,
        validation_top1=rounded(top1),
        values_of_c=len(tried),
        converged=bool(model.n_iter_.max() < logistic.MAX_ITERATIONS),
        probe=of_labels(logits, test.truths[:, np.newaxis].tolist()),
    )
    return report, model


def write_weights(file: Path, found: Gathered, model: LogisticRegression) -> None:
    """The classifier of k classes, as an .npz that needs no scikit-learn.

    `classes`, [k]; `weights`, float32 [k, D], and `biases`, float32 [k]: a vector's logits are
    `weights @ vector + biases`; `fingerprint`: of the only model whose vectors they fit.
    """
    weights, biases = logistic.rows_of(model)
    with open(file, "wb") as opened:  # else NumPy would add a suffix
        np.savez(
            opened,
            classes=np.array([found.classes.labels[place] for place in model.classes_]),
            weights=weights.astype(np.float32),
            biases=biases.astype(np.float32),
            fingerprint=np.array(found.zero_shot.fingerprint),
        )


def _class_of(item: Item, classes: Classes) -> int:
    places = classes.of(item)
    if len(places) > 1:
        raise ModelsError(f"{item.id} has {len(places)} classes: a probe needs images with one class.")
    return places[0]
