"""`python -m models`: make artifacts and check them."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from models.catalog import read_catalog, resolve
from models.errors import ModelsError
from service.manifest import ArtifactError

app = typer.Typer(
    help="Make artifacts, the folders of data that the service serves, and check them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_models() -> None:
    """The catalog: names that `export` knows, their weights and licences."""
    entries = read_catalog().values()
    rows = [("NAME", "MODEL", "PRETRAINED", "LICENCE", "ABOUT")]
    rows += [(e.name, e.model, e.pretrained or "", e.licence, e.about) for e in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="A name of the catalog, or any model of open_clip.")],
    pretrained: Annotated[str | None, typer.Option(help="The tag of the weights in open_clip.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A file with these weights, instead of a download.", exists=True, dir_okay=False),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Never trained: for timing and tests, without a download."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Default: models/artifacts/NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
) -> None:
    """Make the artifact of a model with open_clip, and compare it with PyTorch."""
    try:
        from models import checkpoint
        from models.export import export as make
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        raise ModelsError(
            f"{missing} is not installed: install the export requirements: make model does it."
        ) from None

    logging.disable(logging.WARNING)  # open_clip and the exporter talk at length
    entry = resolve(name, pretrained, read_catalog(), checkpoint.tags())
    folder = out or Path(__file__).with_name("artifacts") / (entry.name + "-random" * random_weights)
    started = time.monotonic()

    def say(line: str) -> None:
        typer.echo(f"{time.monotonic() - started:6.1f} s  {line}")

    make(entry, folder, weights=weights, random_weights=random_weights, seed=seed, say=say)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="An artifact.")]) -> None:
    """Check an artifact: its files against their checksums, its graphs against its reference vectors."""
    from models.verify import verify as check

    manifest, cosine = check(folder)
    typer.echo(
        f"{manifest.fingerprint()}: {len(manifest.files)} files as exported, lowest cosine {cosine:.8f}"
    )


@app.command()
def evaluate(
    photos: Annotated[
        Path, typer.Argument(help="A folder of labelled photos.", exists=True, file_okay=False)
    ],
    classes: Annotated[Path, typer.Option(help="Lines of: index, key, label.", exists=True, dir_okay=False)],
    url: Annotated[str, typer.Option(help="A running service.")] = "http://127.0.0.1:8080",
    template: Annotated[list[str] | None, typer.Option(help="Default: the model's own; repeatable.")] = None,
) -> None:
    """Measure the zero-shot accuracy of a running service on labelled photos, over HTTP."""
    from models.evaluate import evaluate as measure

    typer.echo(str(measure(url, photos, classes, template or [])))


def main() -> None:
    """Run a command; an error that has an explanation is told without a traceback."""
    try:
        app()
    except (ModelsError, ArtifactError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
