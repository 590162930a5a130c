"""Asks a CLIP about many images, a few at a time, in the order of the data."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from clipserve.client.images import ImageLike
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
    labels = [] if asked.get("label_set") else [*places]
    await _prepare(clip, labels, asked.get("templates", ()))

    async def classified(images: Sequence[ImageLike]) -> tuple[Floats, Mapping[int, Exception]]:
        answer = await clip.classify(images, labels, **asked)
        return np.stack([_row(ranked, places) for ranked in answer.labels]), answer.errors

    return await _all(items, classified)


async def vectors_of(clip: AsyncMethods, items: Iterable[Item]) -> Floats:
    """The vectors of images: float32 [N, D]. Raises as `logits_of`."""

    async def embedded(images: Sequence[ImageLike]) -> tuple[Floats, Mapping[int, Exception]]:
        answer = await clip.embed_images(images)
        return answer.vectors, answer.errors

    return await _all(items, embedded)


async def _all(
    items: Iterable[Item],
    ask: Callable[[Sequence[ImageLike]], Awaitable[tuple[Floats, Mapping[int, Exception]]]],
) -> Floats:
    found, waiting = [], iter(items)
    with Shown("images") as shown:
        while some := list(islice(waiting, _ITEMS)):
            rows, errors = await ask([item.image for item in some])
            for place, error in sorted(errors.items()):
                raise ModelsError(f"{some[place].id}: {error}") from None
            found.append(rows)
            for _ in some:
                shown.advance()
    return np.concatenate(found)


async def _prepare(clip: AsyncMethods, labels: Sequence[str], templates: Sequence[str]) -> None:
    """Let the service embed the prompts of many labels, some at a time: all at once could miss the deadline."""
    try:
        step = max(1, _PROMPTS // (len(expand(templates)) or 1))
    except ClipError as error:
        raise ModelsError(error.detail) from None
    for start in range(0, len(labels), step) if len(labels) > step else ():
        any_image = np.zeros((32, 32, 3), np.uint8)
        await clip.classify([any_image], labels[start : start + step], templates=templates, top_k=1)


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
