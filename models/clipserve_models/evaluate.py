"""`clipserve models evaluate`: the accuracy of a service on labelled images, or on images with captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from clipserve.client.methods import AsyncMethods
from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, open_clip
from clipserve.commands.running import run
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.asking import logits_of, vectors_of
from clipserve_models.evaluation.classes import Classes, classes_in, read_classes
from clipserve_models.evaluation.data import Item, read_items, truths_of
from clipserve_models.evaluation.figures import of_captions, of_labels
from clipserve_models.evaluation.report import Report, publish

ClassesOption = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="A file with lines of index, key and label, or of labels; or the name of a data set "
        "(`cifar10`). Default: the classes of the data.",
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(help="A template, or the name of a template set; default: the model's own; repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="A folder for report.md and report.json.")]
Url = Annotated[str, typer.Option(envvar="CLIPSERVE_URL", help="A running service.")]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Use the model of --model in this process, without a service.")
]
HERE = "http://127.0.0.1:8080"
INTERRUPTED = "interrupted."
Images = Callable[[], Iterator[Item]]  # read from the beginning


@dataclass(frozen=True)
class Plan:
    """What to evaluate.

    Attributes:
        classes: a file of them, or a data set's name; None: the classes that the data define.
        templates: templates, or names of template sets; none: the model's own.
        label_set: of the service, with these classes, in place of templates. It may have prompts and examples of
            its own, and a threshold: an image without a label counts as wrong.
    """

    data: Path
    classes: str | Path | None = None
    templates: tuple[str, ...] = ()
    label_set: str | None = None


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Labelled images: a folder, CIFAR's files, .csv or .tsv.", exists=True)
    ],
    classes: ClassesOption = None,
    template: Template = None,
    label_set: Annotated[
        str | None, typer.Option(help="A label set of the service, with these labels.")
    ] = None,
    out: Out = None,
    url: Url = HERE,
    in_process: InProcess = False,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Measure the accuracy of a service on labelled images, or on images with captions. Prints the report."""
    plan = Plan(data, classes, tuple(template or ()), label_set)

    async def evaluated() -> int:
        async with open_clip(None if in_process else url, key, model, in_flight) as clip:
            publish(await evaluation(clip, plan), out)
        return 0

    run(evaluated(), INTERRUPTED)


async def evaluation(clip: AsyncMethods, plan: Plan) -> Report:
    """Ask the service about each item, and compute the figures.

    Raises:
        ModelsError: there are no items, or one has no answer.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    if plan.label_set and plan.templates:
        raise ModelsError("a label set has templates of its own: give --template or --label-set, not both.")
    given = read_classes(plan.classes) if plan.classes else None
    images = partial(read_items, plan.data, given.keys if given else ())
    items = truths_of(images(), plan.data, plan.classes)
    if any(item.classes for item in items):
        classes = given or classes_in(plan.data, (name for item in items for name in item.classes))
        return await classified(clip, plan, items, classes, images)
    served, captions = await clip.served_by(), [caption for item in items for caption in item.captions]
    texts = (await clip.embed_texts(captions, truncate=True)).vectors
    figures = of_captions(await vectors_of(clip, images()), texts, [len(item.captions) for item in items])
    return Report(served.model, served.fingerprint, plan.data.name, {}, figures)


async def classified(
    clip: AsyncMethods, plan: Plan, items: Sequence[Item], classes: Classes, images: Images
) -> Report:
    """Ask for the labels of each item. `images`: the same items, with what is asked. Raises as `evaluation`."""
    served, right = await clip.served_by(), [classes.of(item) for item in items]
    places = {label: place for place, label in enumerate(classes.labels)}
    logits = await logits_of(clip, images(), places, templates=plan.templates, label_set=plan.label_set)
    figures = of_labels(logits, right)
    asked = {"templates": list(plan.templates), "label_set": plan.label_set}
    return Report(served.model, served.fingerprint, plan.data.name, asked, figures)
