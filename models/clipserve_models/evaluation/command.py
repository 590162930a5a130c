"""`clipserve models evaluate`, `probe`, and `card`, which prints an evaluation."""

from __future__ import annotations

import logging
import signal
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


Classes = Annotated[
    str | None,
    typer.Option(
        help="A file with lines of index, key and label, or of labels; or the name of a data set "
        "(`cifar10`). Default: the classes of the data."
    ),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        help="A template, a file of them, or the name of a template set; default: the model's own; repeatable."
    ),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        help="A data set with a published figure (`cifar10`): chooses its classes and templates, and compares."
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Delete the answers in --out.")]
Url = Annotated[str, typer.Option(envvar="CLIPSERVE_URL", help="A running service.")]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Use the model of --model in this process, without a service.")
]
_HERE = "http://127.0.0.1:8080"


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            help="Labelled images: a folder, CIFAR's files, .tar (webdataset), .parquet, .csv or .tsv.",
            exists=True,
        ),
    ],
    classes: Classes = None,
    template: Template = None,
    label_set: Annotated[
        str | None, typer.Option(help="A label set of the service, with these labels.")
    ] = None,
    preset: PresetName = None,
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
        typer.Option(help="A folder for report.md, report.json and the answers, to resume from."),
    ] = None,
    restart: Restart = False,
    url: Url = _HERE,
    in_process: InProcess = False,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Measure the accuracy of a service on labelled images, or on images with captions.

    Prints the report. With --out the same command resumes after an interruption.
    """
    from clipserve_models.evaluation.measuring import Plan
    from clipserve_models.evaluation.measuring import evaluate as measure
    from clipserve_models.evaluation.presets import preset_of

    if weights and not reference:
        raise typer.BadParameter("--weights are those of --reference, which is missing.")
    chosen = preset_of(preset) if preset else None
    original = _original(reference, weights) if reference else None
    plan = Plan(data, classes, tuple(template or ()), label_set, chosen, out, original)
    if restart and out:
        _forget(out)

    async def evaluated() -> int:
        async with open_clip(None if in_process else url, key, model, in_flight, exact=True) as clip:
            report = await measure(clip, plan)
        for line in report.as_markdown().splitlines():
            say(line)
        return 0

    run(evaluated(), _interrupted(out))


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
    classes: Classes = None,
    template: Template = None,
    preset: PresetName = None,
    shots: Annotated[
        str | None,
        typer.Option(help="Also train on so few images of each class: 1,2,4,8,16.", metavar="NUMBERS"),
    ] = None,
    repetitions: Annotated[
        int, typer.Option(help="Trainings for each of --shots, on other images.", min=1)
    ] = 3,
    seed: Annotated[int, typer.Option(help="The seed of all random choices.", min=0)] = 0,
    set_file: Annotated[
        Path | None,
        typer.Option("--set", help="A .json file for the label set of the classifier.", dir_okay=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for report.md, report.json, curve.svg and the answers, to resume from."),
    ] = None,
    restart: Restart = False,
    url: Url = _HERE,
    in_process: InProcess = False,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Train a linear classifier on a model's vectors of labelled images, and compare it with zero-shot.

    Needs scikit-learn. Prints the report. With --out the same command resumes after an interruption.
    """
    from clipserve_models.evaluation.presets import preset_of
    from clipserve_models.evaluation.probing import ProbePlan, gather, learn, write_set

    plan = ProbePlan(
        data[0],
        classes,
        tuple(template or ()),
        preset=preset_of(preset) if preset else None,
        out=out,
        more=tuple(data[1:]),
        test=test,
        test_share=test_share,
        shots=_numbers(shots),
        repetitions=repetitions,
        seed=seed,
    )
    if restart and out:
        _forget(out)

    async def probed() -> int:
        async with open_clip(None if in_process else url, key, model, in_flight, exact=True) as clip:
            found = await gather(clip, plan)
        for end in (signal.SIGINT, signal.SIGTERM):  # from here on nothing is awaited that these could cancel
            signal.signal(end, signal.default_int_handler)
        report, learned = learn(found, plan)
        if out:
            report.write(out)
        if set_file:
            write_set(set_file, found, learned)
        for line in report.as_markdown().splitlines():
            say(line)
        return 0

    run(probed(), _interrupted(out))


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(map(int, text.split(","))) if text else ()
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise typer.BadParameter(
            f"--shots {text}: give numbers from 1 with commas between them, as 1,2,4,8,16."
        )
    return numbers


def _forget(out: Path) -> None:
    from clipserve_models.evaluation.journal import forget
    from clipserve_models.evaluation.measuring import JOURNAL, VECTORS

    for answers in (JOURNAL, VECTORS):
        forget(out / answers)


def _interrupted(out: Path | None) -> str:
    return (
        f"interrupted. The answers so far are in {out}: the same command resumes." if out else "interrupted."
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
