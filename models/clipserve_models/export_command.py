"""The commands that list the models with a name, and make artifacts of models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipserve_models.cache import in_cache
from clipserve_models.catalog import base_of, read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.exporting import UserModel, plan, plan_of_random

_Three = tuple[float, float, float]


def list_models() -> None:
    """The catalog: names that `export` knows, their weights and licences."""
    entries = read_catalog().values()
    rows = [(e.name, e.model, e.pretrained, e.licence, e.about) for e in entries]
    _print_table([("NAME", "MODEL", "PRETRAINED", "LICENCE", "ABOUT"), *rows])


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of the catalog; a repository of the Hugging Face hub, ORG/NAME or ORG/NAME@REVISION; a "
            "folder or file of weights; NAME-random, of the catalog or of open_clip, for timing and tests."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="The name of the artifact; the default is that of the repository or folder."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of weights of your own, or of a repository that does not state it.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option("--model", help="Of a file of weights: its architecture in open_clip.")
    ] = None,
    mean: Annotated[_Three | None, typer.Option(help="Of images, where the files do not say it.")] = None,
    std: Annotated[_Three | None, typer.Option(help="Of images, where the files do not say it.")] = None,
    activation: Annotated[
        Literal["gelu", "quick_gelu"] | None,
        typer.Option(help="Of a file of weights, if not the architecture's."),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Untrained weights without a download, for timing and tests."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Default: the artifact's name in CLIPSERVE_CACHE_DIR.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the random weights.")] = 0,
) -> None:
    """Make the artifact of a model, and check it against a second computation of the same weights."""
    by_user = UserModel(architecture, mean, std, activation, name, licence)
    model, random_weights = base_of(model, random_weights)
    if random_weights and by_user != UserModel():
        raise ModelsError(
            f"{model} comes from open_clip, which says its name, licence, architecture and preprocessing: leave "
            "out --name, --licence, --model, --mean, --std and --activation."
        )
    called, write = plan_of_random(model, seed) if random_weights else plan(model, by_user)
    write(out or in_cache(called), timed())


def timed() -> Callable[[str], None]:
    """Prints a line behind the seconds since this call."""
    started = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
