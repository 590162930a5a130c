"""Asks a CLIP about many images, a few at a time, in the order of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from clipserve.client.errors import ItemFailed
from clipserve.client.methods import AsyncMethods
from clipserve.clip.prompts import expand
from clipserve.commands.progress import Shown
from clipserve.errors import ClipError
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.data import Item
from clipserve_models.evaluation.figures import Floats

_ITEMS = 128  # read at a time
_PROMPTS = 256  # new prompts in one request


async def logits_of(
    clip: AsyncMethods, items: Iterable[Item], places: Mapping[str, int], **asked: Any
) -> Floats:
    """Logits of all K labels in the order of `places`, -inf of those left out: float32 [N, K].

    `asked`: `templates` or `label_set`, as `AsyncMethods.classify` takes them.

    Raises:
        ModelsError: an image has no answer, or a label set has other labels.
        ClipserveError: the service refuses a request, cannot be reached, or its model changes.
    """
    rows: list[Floats] = []
    labels = [] if asked.get("label_set") else [*places]
    with Shown("images") as shown:
        for some in _parts(items):
            if not rows:
                await _prepare(clip, some[0], labels, asked.get("templates", ()))
            answer = await clip.classify([item.image for item in some], labels, **asked)
            _check(some, answer.errors)
            rows += [_row(ranked, places) for ranked in answer.labels]
            _advance(shown, len(some))
    return np.stack(rows)


async def vectors_of(clip: AsyncMethods, items: Iterable[Item]) -> Floats:
    """The vectors of images: float32 [N, D]. Raises as `logits_of`."""
    found = []
    with Shown("images") as shown:
        for some in _parts(items):
            answer = await clip.embed_images([item.image for item in some])
            _check(some, answer.errors)
            found.append(answer.vectors)
            _advance(shown, len(some))
    return np.concatenate(found)


def _parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    waiting = iter(items)
    while some := list(islice(waiting, _ITEMS)):
        yield some


async def _prepare(clip: AsyncMethods, item: Item, labels: Sequence[str], templates: Sequence[str]) -> None:
    """Let the service embed the prompts of many labels, some at a time: all at once could miss the deadline."""
    try:
        step = max(1, _PROMPTS // (len(expand(templates)) or 1))
    except ClipError as error:
        raise ModelsError(error.detail) from None
    if len(labels) > step:
        for start in range(0, len(labels), step):
            some = labels[start : start + step]
            answer = await clip.classify([item.image], some, templates=templates, top_k=1)
            _check([item], answer.errors)


def _row(ranked: Iterable[Any], places: Mapping[str, int]) -> Floats:
    row = np.full(len(places), -math.inf, np.float32)
    for each in ranked:
        if each.label not in places:
            raise ModelsError(
                f"the service answered {each.label!r}, which is none of the {len(places):,} classes: a label set "
                "must have the labels of --classes."
            )
        row[places[each.label]] = each.logit
    return row


def _check(items: Sequence[Item], errors: Mapping[int, ItemFailed]) -> None:
    """Raises ModelsError: an item has no answer."""
    for place, error in sorted(errors.items()):
        raise ModelsError(f"{items[place].id}: {error}") from None


def _advance(shown: Shown, count: int) -> None:
    for _ in range(count):
        shown.advance()
