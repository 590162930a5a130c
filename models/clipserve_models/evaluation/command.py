"""`clipserve models evaluate`, and `card`, which prints what it has found."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, open_clip
from clipserve.commands.printing import say
from clipserve.commands.running import run
from clipserve_models.cache import Artifact, folder_of
from clipserve_models.errors import not_installed

if TYPE_CHECKING:
    from clipserve_models.evaluation.agreement import Original


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled images: a folder, CIFAR's files, .tar (webdataset), .parquet, .csv or .tsv.",
            exists=True,
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option(
            help="A file with lines of index, key and label, or of labels; or the name of a data set "
            "(`cifar10`). Default: the classes of the data."
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="A template, a file of them, or the name of a template set; default: the model's own; repeatable."
        ),
    ] = None,
    label_set: Annotated[
        str | None, typer.Option(help="A label set of the service, with these labels.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A data set with a published figure (`cifar10`): chooses its classes and templates, and compares."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="An artifact: compare with the model of open_clip that it was exported from, in PyTorch.",
            callback=folder_of,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Of --reference: its weights, if `export` was given a file.", exists=True, dir_okay=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for report.md, report.json and the answers, so that it can go on."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget the answers in --out.")] = False,
    url: Annotated[str, typer.Option(envvar="CLIPSERVE_URL", help="A running service.")] = (
        "http://127.0.0.1:8080"
    ),
    in_process: Annotated[
        bool, typer.Option("--in-process", help="The model of --model in this process, without a service.")
    ] = False,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Measure how right a service is on labelled images, or on images with captions.

    Prints the report. With --out the same command goes on where an earlier one was interrupted.
    """
    from clipserve_models.evaluation.measuring import JOURNAL, VECTORS, Plan
    from clipserve_models.evaluation.measuring import evaluate as measure
    from clipserve_models.evaluation.presets import preset_of

    if weights and not reference:
        raise typer.BadParameter("--weights are those of --reference, which is missing.")
    chosen = preset_of(preset) if preset else None
    original = _original(reference, weights) if reference else None
    plan = Plan(data, classes, tuple(template or ()), label_set, chosen, out, original)
    if restart and out:
        for answers in (JOURNAL, VECTORS):
            (out / answers).unlink(missing_ok=True)

    async def evaluated() -> int:
        async with open_clip(None if in_process else url, key, model, in_flight, exact=True) as clip:
            report = await measure(clip, plan)
        for line in report.as_markdown().splitlines():
            say(line)
        return 0

    run(
        evaluated(),
        f"interrupted. The answers so far are in {out}: the same command goes on." if out else "interrupted.",
    )


def _original(folder: Path, weights: Path | None) -> Original:
    try:
        from clipserve_models.evaluation.reference import Reference
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    logging.disable(logging.WARNING)  # open_clip logs a lot
    return Reference(folder, weights)


def card(
    folder: Artifact,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="report.json of an evaluation of this model.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Print a model card in Markdown: the facts of an artifact, and its accuracy in an evaluation."""
    from clipserve_models.card import card as written

    for line in written(folder, evaluation).splitlines():
        say(line)
