"""Accuracy of zero-shot classification on labelled photos: by names, with described labels, with examples.

The photos are one a class, so that examples are parts of them: of the five parts of a photo three are examples and
two are judged. That is easier than photos of other things of a class would be.
"""

from __future__ import annotations

import io
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

import clipserve
from clipserve.client.server import Server as AskedServer
from loadtests.bodies import json_image
from loadtests.commands import DEMO
from loadtests.process import Server, started
from loadtests.report import table

_CLASSES = 20
_EXAMPLES = 3
_CUTS = ((0, 0, 0.6, 0.6), (0.4, 0, 1, 0.6), (0, 0.4, 0.6, 1), (0.4, 0.4, 1, 1), (0.2, 0.2, 0.8, 0.8))
_PATIENT = {"max_queue_seconds": "600", "deadline_seconds": "600"}
_DESCRIBED = Path(__file__).with_name("described.toml")


@dataclass(frozen=True)
class Accuracy:
    """`right` of `photos`. `wrong`: (what it is, what it was taken for)."""

    name: str
    right: int
    photos: int
    wrong: list[tuple[str, str]]


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
    with (
        tempfile.TemporaryDirectory() as state,
        started("clipserve", models=str(artifact), state_dir=state, **_PATIENT) as server,
    ):
        results = [by_names(server, found, {}), by_names(server, found, prompts)]
        results += [with_examples(server, found, weight) for weight in (None, 0.5, 1.0)]
    rows = [[r.name, f"{r.right} of {r.photos}", f"{100 * r.right / r.photos:.1f} %"] for r in results]
    typer.echo(table(("by", "right", "accuracy"), rows))
    for label, taken_for in results[0].wrong:
        typer.echo(f"  by names: {label} taken for {taken_for}", err=True)


def label_of(photo: Path) -> str:
    """n01664065_loggerhead.JPEG -> loggerhead."""
    return photo.stem.partition("_")[2].replace("_", " ")


def by_names(server: Server, photos: Sequence[Path], described: Mapping[str, Sequence[str]]) -> Accuracy:
    """All photos among all their labels, some with descriptions in place of the name."""
    labels = [_described(label_of(photo), described) for photo in photos]
    cases = [(label_of(photo), photo.read_bytes()) for photo in photos]
    name = f"{len(described)} labels described" if described else "names"
    return _judged(server, f"{name}, {len(labels)} classes", labels, cases, {})


def with_examples(server: Server, photos: Sequence[Path], weight: float | None) -> Accuracy:
    """Parts of the first photos: three of each are examples, two are judged. Without a weight, by names alone."""
    labels: list[Any] = []
    cases = []
    for photo in photos[:_CLASSES]:
        parts = list(_cut(photo))
        examples = [json_image(part) for part in parts[:_EXAMPLES]]
        labels.append({"label": label_of(photo), "examples": [] if weight is None else examples})
        cases += [(label_of(photo), part) for part in parts[_EXAMPLES:]]
    options = {} if weight is None else {"example_weight": weight}
    name = "names" if weight is None else f"{_EXAMPLES} examples, weight {weight:g}"
    return _judged(server, f"{name}, {_CLASSES} classes, parts of photos", labels, cases, options)


def _cut(photo: Path) -> Iterator[bytes]:
    """Five parts of a photo that overlap, as JPEGs: its corners and its centre."""
    with Image.open(photo) as image:
        width, height = image.size
        for left, top, right, bottom in _CUTS:
            part = image.convert("RGB").crop(
                (int(left * width), int(top * height), int(right * width), int(bottom * height))
            )
            file = io.BytesIO()
            part.save(file, "JPEG", quality=95)
            yield file.getvalue()


def _described(label: str, described: Mapping[str, Sequence[str]]) -> Any:
    return {"label": label, "prompts": list(described[label])} if label in described else label


def _judged(
    server: Server,
    name: str,
    labels: Sequence[Any],
    cases: Sequence[tuple[str, bytes]],
    options: Mapping[str, Any],
) -> Accuracy:
    _put(AskedServer(server.url, seconds=120), {"labels": labels, **options})
    with clipserve.Client(server.url) as client:
        classified = client.classify([image for _, image in cases], label_set="judged", top_k=1)
    if classified.errors:
        raise RuntimeError(str(classified.errors))
    found = [best.label for (best,) in classified.labels]
    pairs = [(label, first) for (label, _), first in zip(cases, found, strict=True)]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    return Accuracy(name, len(pairs) - len(wrong), len(pairs), wrong)


def _put(asked: AskedServer, definition: Mapping[str, Any]) -> None:
    """And wait until it is built: until then the former set is served."""
    while (put := asked.result("PUT", "/label-sets/judged", json=definition)).json["state"] == "building":
        time.sleep(0.5)
    if put.json["state"] != "ready":
        raise RuntimeError(f"the set is {put.json['state']}: {put.json.get('error')}")
