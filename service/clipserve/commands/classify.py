"""`clipserve classify`: labels of images, as a table or as JSON lines."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any

import typer

from clipserve.api.answers import shown
from clipserve.api.requests import ClassifyRequest
from clipserve.client.errors import ItemFailed
from clipserve.client.methods import AsyncMethods
from clipserve.client.results import Labelled, ServedBy
from clipserve.commands.opening import IN_FLIGHT, Every, InFlight, Key, Model, Url, open_clip
from clipserve.commands.printing import say, say_json
from clipserve.commands.running import WRONG_USE, fail, run
from clipserve.commands.vectors import listing
from clipserve.commands.vectors.stream import in_order

Outcome = tuple[str, Labelled | ItemFailed]


def classify(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER|FILES|-", help="Images, or folders of them; - reads paths, one a line."
        ),
    ],
    labels: Annotated[str | None, typer.Option(help='The candidate labels: "cat,dog".')] = None,
    label_set: Annotated[
        str | None, typer.Option(help="The name of a label set, in place of labels.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help='"a photo of a {}", or the name of a template set.')
    ] = None,
    scoring: Annotated[str | None, typer.Option(help="softmax, sigmoid or cosine.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many labels to show, best first.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="JSON lines, not a table; the default without a terminal.")
    ] = False,
    every: Every = None,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Find the labels that fit images best.

    Exit status: 0 if all are classified; 1 if one is not, or the command failed; 2 for wrong usage.
    """
    chosen = [label.strip() for label in (labels or "").split(",") if label.strip()]
    if bool(chosen) == (label_set is not None):
        fail('say what the images may be: --labels "cat,dog", or --label-set NAME.', status=WRONG_USE)
    question = ClassifyRequest(
        [],
        chosen,
        template or (),
        label_sets=[] if label_set is None else [label_set],
        scoring=scoring,  # type: ignore[arg-type] # it is checked
        top_k=top_k,
    )

    async def classified() -> int:
        async with open_clip(url, key, model, in_flight) as clip:
            met = listing.Met()
            outcomes = _outcomes(clip, question, listing.images(listing.named(files), met, every=every))
            status = await _write(outcomes, await clip.served_by(), as_json=json or not sys.stdout.isatty())
            for sentence in listing.summary(met):
                say(sentence, err=True)
            return status

    run(classified())


def _outcomes(
    clip: AsyncMethods, question: ClassifyRequest, listed: Iterator[listing.Item]
) -> AsyncGenerator[Outcome, None]:
    """The outcome of each file, in order."""

    async def items() -> AsyncGenerator[listing.Item, None]:
        for item in listed:
            yield item

    async def outcome(item: listing.Item) -> Outcome:
        try:
            return item.key, await clip.classify_image(await asyncio.to_thread(item.image), question)
        except ItemFailed as error:
            return item.key, error

    return in_order(items(), outcome, clip.in_flight)


async def _write(outcomes: AsyncGenerator[Outcome, None], served: ServedBy, *, as_json: bool) -> int:
    """Print each outcome as it arrives, columns of unknown width last; return the exit status."""
    if not as_json:
        say(f"score   cosine  label ({served.fingerprint})")
    found, failed, warnings = 0, 0, dict[str, None]()
    async for path, outcome in outcomes:
        found += 1
        if isinstance(outcome, Exception):
            failed += 1
            say(f"clipserve: {path}: {outcome.code}: {outcome.detail}", err=True)
        if as_json:
            about = {"path": path, "model": served.model, "fingerprint": served.fingerprint}
            say_json(about | _fields(outcome))
        elif not isinstance(outcome, Exception):
            warnings |= dict.fromkeys(outcome.warnings)
            say(path)
            for label in outcome.labels:
                say(f"{label.score:5.3f}  {label.cosine:7.3f}  {label.label}")
    for warning in warnings:
        say(f"clipserve: {warning}", err=True)
    if not found:
        say("clipserve: no image was found to classify.", err=True)
    return 1 if failed or not found else 0


def _fields(outcome: Labelled | ItemFailed) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"error": {"code": outcome.code, "detail": outcome.detail}}
    warnings = {"warnings": outcome.warnings} if outcome.warnings else {}
    return {"labels": [shown(label) for label in outcome.labels], **warnings}
