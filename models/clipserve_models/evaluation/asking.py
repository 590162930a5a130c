"""Asks a CLIP about many items at a time, and appends the answers to the journal in order, as rows of numbers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from clipserve.api.requests import ClassifyRequest
from clipserve.application.stream import InFlightLimit, in_order
from clipserve.client.errors import ItemFailed
from clipserve.client.images import as_file
from clipserve.client.methods import AsyncMethods
from clipserve.client.results import Labelled
from clipserve.clip.prompts import expand
from clipserve.commands.progress import Shown
from clipserve.errors import ClipError
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.journal import Journal
from clipserve_models.evaluation.metrics import Floats

T = TypeVar("T")
_PROMPTS = 256  # new prompts in one request


async def answer_all(
    clip: AsyncMethods,
    works: Iterator[T],
    one: Callable[[T], Coroutine[None, None, Floats]],
    journal: Journal,
    shown: Shown,
) -> None:
    """Append the row of each work that the journal does not have yet.

    Raises:
        ClipserveError, ModelsError: what `one` raises. The rows before it are kept.
    """

    async def unanswered() -> AsyncGenerator[T, None]:
        for _ in islice(works, journal.kept):
            shown.advance(kept=True)
        for work in works:
            yield work

    async with aclosing(in_order(unanswered(), one, InFlightLimit(4 * clip.in_flight))) as rows:
        async for row in rows:
            journal.append(row)
            shown.advance()


class Asker:
    """Asks one CLIP. Methods raise ModelsError if the item has an error, ClipserveError if the request fails."""

    def __init__(self, clip: AsyncMethods) -> None:
        self._clip = clip

    async def prepare(self, item: Item, question: ClassifyRequest) -> None:
        """Let the service embed the prompts of many labels, some at a time: all at once could miss the deadline."""
        try:
            templates = len(expand(question.templates)) or 1
        except ClipError as error:
            raise ModelsError(error.detail) from None
        step = max(1, _PROMPTS // templates)
        if len(question.labels) <= step:
            return
        with Shown("labels") as shown:
            shown.total = len(question.labels)
            for start in range(0, len(question.labels), step):
                some = question.labels[start : start + step]
                await self._labelled(item, replace(question, labels=some, top_k=1))
                for _ in some:
                    shown.advance()

    async def logits(self, item: Item, question: ClassifyRequest, places: dict[str, int]) -> Floats:
        """Logits of all K labels in the order of `places`, -inf of those left out; then the score of the first.

        float32 [K + 1]. The score is NaN if there is no label, or if it is a cosine and not a share.
        """
        row = np.full(len(places) + 1, -math.inf, np.float32)
        row[-1] = math.nan
        labels = (await self._labelled(item, question)).labels
        for each in labels:
            if each.label not in places:
                raise ModelsError(
                    f"the service answered {each.label!r}, which is none of the {len(places):,} classes: a "
                    "label set must have the labels of --classes."
                )
            row[places[each.label]] = each.logit
        if labels and labels[0].score != labels[0].cosine:
            row[-1] = labels[0].score
        return row

    async def vector(self, work: Item | str) -> Floats:
        """The vector of an image or of a caption, float32 [D]."""
        if isinstance(work, Item):
            return (
                await self._asked(work.id, self._clip.embed_image(await asyncio.to_thread(file_of, work)))
            ).vector
        return (await self._asked(repr(work), self._clip.embed_text(work, truncate=True))).vector

    async def _labelled(self, item: Item, question: ClassifyRequest) -> Labelled:
        return await self._asked(
            item.id, self._clip.classify_image(await asyncio.to_thread(file_of, item), question)
        )

    async def _asked(self, what: str, answer: Coroutine[None, None, T]) -> T:
        try:
            return await answer
        except ItemFailed as error:
            raise ModelsError(f"{what}: {error}") from None


def file_of(item: Item) -> bytes:
    """The bytes of its image. Raises ModelsError: they cannot be read."""
    try:
        return as_file(item.image)
    except ItemFailed as error:
        raise ModelsError(f"{item.id}: {error}") from None
