"""`clipserve classify`: images to labels, as a table or as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipserve.commands.opening import IN_FLIGHT, InFlight, Key, Model, Url, open_clip
from clipserve.commands.printing import say, say_json
from clipserve.commands.reading import fail

if TYPE_CHECKING:  # loaded when the command runs
    from clipserve.application.requests import ClassifyRequest
    from clipserve.client.errors import ItemFailed
    from clipserve.client.methods import AsyncMethods
    from clipserve.client.results import Labelled

    Outcome = tuple[str, Labelled | ItemFailed]


def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Images, or folders of them.")],
    labels: Annotated[str | None, typer.Option(help='What they may be: "cat,dog".')] = None,
    label_set: Annotated[
        str | None, typer.Option(help="The name of a label set, in place of labels.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help='"a photo of a {}", or the name of a template set.')
    ] = None,
    scoring: Annotated[str | None, typer.Option(help="softmax, sigmoid or cosine.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Show the best so many labels.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Lines of JSON, as where no terminal reads.")] = False,
    url: Url = None,
    key: Key = None,
    model: Model = None,
    in_flight: InFlight = IN_FLIGHT,
) -> None:
    """Say which labels fit images best.

    Exit status: 0, all are classified; 1, some are not, or the command could not go on; 2, it was called wrongly.
    """
    from clipserve.application.requests import ClassifyRequest
    from clipserve.commands.running import run

    chosen = [each.strip() for each in (labels or "").split(",") if each.strip()]
    if bool(chosen) == (label_set is not None):
        fail('say what the images may be: --labels "cat,dog", or --label-set NAME.', status=2)
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
            write = _write_json if json or not sys.stdout.isatty() else _write_table
            return await write(_outcomes(clip, question, files), clip)

    run(classified())


async def _outcomes(
    clip: AsyncMethods, question: ClassifyRequest, files: Iterable[str]
) -> AsyncGenerator[Outcome, None]:
    """Of each file, in order."""
    from clipserve.application.stream import Window, in_order
    from clipserve.client.errors import ItemFailed
    from clipserve.client.images import MAX_FILE_BYTES, read_file
    from clipserve.commands.vectors import listing

    async def items(listed: Iterator[listing.Item]) -> AsyncGenerator[tuple[listing.Item, int], None]:
        for item in listed:
            yield item, item.size

    async def outcome(item: listing.Item) -> Outcome:
        try:
            return item.key, await clip.classify_image(read_file(item.path, MAX_FILE_BYTES), question)
        except ItemFailed as error:
            return item.key, error

    async for each in in_order(items(listing.images(files)), outcome, Window(4 * clip.in_flight)):
        yield each


async def _write_json(outcomes: AsyncGenerator[Outcome, None], clip: AsyncMethods) -> int:
    failed, served = 0, await clip.served_by()
    about = {"model": served.model, "fingerprint": served.fingerprint}
    async for path, outcome in outcomes:
        line: dict[str, Any] = {"path": path, **about}
        if isinstance(outcome, Exception):
            failed += 1
            line["error"] = {"code": outcome.code, "detail": outcome.detail}
            _tell(path, outcome)
        else:
            line["labels"] = [asdict(label) for label in outcome.labels]
            if outcome.warnings:
                line["warnings"] = outcome.warnings
        say_json(line)
    return 1 if failed else 0


async def _write_table(outcomes: AsyncGenerator[Outcome, None], clip: AsyncMethods) -> int:
    """Row by row, as they come: what is of no known width is at the end."""
    say(f"score   cosine  label ({(await clip.served_by()).fingerprint})")
    failed, warnings = 0, dict[str, None]()
    async for path, outcome in outcomes:
        if isinstance(outcome, Exception):
            failed += 1
            _tell(path, outcome)
            continue
        warnings |= dict.fromkeys(outcome.warnings)
        say(path)
        for label in outcome.labels:
            say(f"{label.score:5.3f}  {label.cosine:7.3f}  {label.label}")
    for warning in warnings:
        say(f"clipserve: {warning}", err=True)
    return 1 if failed else 0


def _tell(path: str, error: ItemFailed) -> None:
    say(f"clipserve: {path}: {error.code}: {error.detail}", err=True)
