"""The commands about label sets."""

from __future__ import annotations

import statistics
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from loadtests import label_sets as large
from loadtests import shared_sets as sharing
from loadtests import zero_shot as judging
from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.process import Server, started
from loadtests.report import table

# A request with 1,000 labels and 80 templates of its own takes as long as the build of the set.
_DESCRIBED = Path(__file__).parent / "described.toml"
_PATIENT = {"max_queue_seconds": "600", "deadline_seconds": "600"}


def label_set(
    artifact: Artifact = DEMO,
    labels: Annotated[int, typer.Option(help="Of the set.")] = 1_000,
    templates: Annotated[str, typer.Option(help="Name of a template set.")] = "imagenet-80",
    seconds: Seconds = 5.0,
    rounds: Rounds = 5,
) -> None:
    """Builds a large label set; its scores beside those of the labels themselves, its rate beside /embed."""
    with _server(artifact) as server:
        built = large.build(server, labels, templates, _tell)
        _tell(
            f"{built.prompts:,} prompts in {built.seconds:.1f} s, {built.prompts / built.seconds:.0f} a second"
        )
        found = large.rates(server, seconds, rounds, _tell)
        best, everything = (
            large.ratio(found, of) for of in (lambda r: r.classify_best, lambda r: r.classify_all)
        )
        _tell(f"/classify by the set / embed, median: top_k=5 {best:.3f}, all scores {everything:.3f}")
        _tell("the same labels and templates in a request ...")
        _tell(f"largest difference of a score: {large.difference(server, labels, templates):.1e}")


def shared_sets(
    rounds: Rounds = 20,
    sets: Annotated[int, typer.Option(help="Stored before the start that is timed.")] = 100,
    redis_url: Annotated[
        str | None,
        typer.Option(help="A Redis in place of a file, which is filled: redis://localhost:6379/9."),
    ] = None,
) -> None:
    """Two services on one store: when one serves what was put at the other; and a start with many sets."""
    own = {"label_set_store": "redis", "redis_url": redis_url} if redis_url else {}
    with tempfile.TemporaryDirectory() as state:
        own |= {"models": str(DEMO), "state_dir": state}
        with started("clipserve", **own) as here, started("clipserve", **own) as there:
            found = sharing.seen(here, there, rounds)
            sharing.fill(here, sets)
        with started("clipserve", **own) as again:
            ready = sharing.ready_sets(again)
    elsewhere = [each.elsewhere for each in found]
    _tell(f"put: median {statistics.median(each.put for each in found):.3f} s")
    _tell(
        f"served elsewhere: median {statistics.median(elsewhere):.3f} s, at most {max(elsewhere):.3f} s after that"
    )
    _tell(f"ready {again.startup_seconds:.2f} s after the start of the process, with {ready} sets built")


def zero_shot(
    photos: Annotated[Path, typer.Argument(help="A folder with photos such as n01664065_loggerhead.JPEG.")],
    artifact: Path = DEMO,
    described: Annotated[
        Path, typer.Option(help="TOML: label = [prompts] for some of the labels.")
    ] = _DESCRIBED,
) -> None:
    """Accuracy on labelled photos: by names, with described labels, and with examples."""
    found = sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    prompts = tomllib.loads(described.read_text("utf-8"))
    with _server(artifact) as server:
        results = [judging.by_names(server, found, {}), judging.by_names(server, found, prompts)]
        results += [judging.with_examples(server, found, weight) for weight in (None, 0.5, 1.0)]
    rows = [[r.name, f"{r.right} of {r.photos}", f"{100 * r.right / r.photos:.1f} %"] for r in results]
    typer.echo(table(("by", "right", "accuracy"), rows))
    for label, taken_for in results[0].wrong:
        _tell(f"  by names: {label} taken for {taken_for}")


@contextmanager
def _server(artifact: Path) -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory() as state,
        started("clipserve", models=str(artifact), state_dir=state, **_PATIENT) as server,
    ):
        yield server


def _tell(text: str) -> None:
    typer.echo(text, err=True)
