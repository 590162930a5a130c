"""The builds of this gateway, which make the embeddings of label sets and store them.

The gateway where a set was put builds it at once. The others wait for its embeddings, and build it after a minute:
the one may be gone. Two that build the same store the same.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from typing import Any, TypeVar

import numpy as np

from clipserve.access.gate import when_there_is_room
from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Former, Record
from clipserve.application.label_sets.request import of_example
from clipserve.application.label_sets.served import LabelSet, row_type
from clipserve.application.label_sets.store import Store
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import together
from clipserve.errors import (
    ClipError,
    InvalidInput,
    LabelSetFailed,
    PermissionDenied,
    StoreUnavailable,
    Unauthenticated,
)
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, caller, task_context

T = TypeVar("T")
Charge = Callable[[int], Awaitable[None]]

_PROMPTS, _EXAMPLES = 256, 16  # at a time: a quarter of a second of a slow encoder
_AT_A_TIME = 2  # of these, so that a small set does not wait for a large one
_AGAIN_SECONDS = 2.0  # after a try that may succeed later
_OTHERS_SECONDS = 60.0  # of the gateway where a set was put
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Builds:
    """The builds of this gateway, for which callers take turns.

    `note`: called after each try. `tidy`: deletes what a new version leaves behind. `charge`: takes rows from the
    rate of the key that pays; None: free.
    """

    store: Store
    metrics: Metrics
    note: Callable[[], None]
    tidy: Callable[[str], Awaitable[None]]
    charge: Charge | None
    _running: Quota = field(default_factory=partial(Quota, "builds", _AT_A_TIME))

    async def take(self, label_set: LabelSet, putter: str | None) -> None:
        """Serve a set that is built; else build it, and serve the former one meanwhile.

        `putter`: the caller who put it here, and whose turns its build takes; None: it was not put here. Raises
        StoreUnavailable.
        """
        record, others = label_set.record, 0.0
        if not await self._load(label_set, record) and label_set.served is None and record.former:
            await self._load(label_set, record.former)
        if label_set.built:
            return
        request = RequestContext(f"label-set-{label_set.version}", address=putter or "", bulk=True)
        if record.pays_for == label_set.version:  # else it is free, and nobody else was asked to build it
            request.digest, request.scope = record.payer, "manage"
            if putter is None:  # clocks may differ
                others = min(record.put + _OTHERS_SECONDS - time.time(), _OTHERS_SECONDS)
        running = self._run(label_set, time.monotonic() + others)
        task = label_set.task = asyncio.create_task(running, context=task_context(request))
        task.add_done_callback(lambda _: setattr(label_set, "task", None))  # its frames hold the set

    async def _run(self, label_set: LabelSet, others_until: float) -> None:
        """Build a set, again and again while that may succeed later. `others_until`: another gateway may do it."""
        began = time.monotonic()
        while not label_set.built and not label_set.final:
            try:
                if not await self._load(label_set, label_set.record):
                    if time.monotonic() < others_until:
                        await asyncio.sleep(_LOOK_SECONDS)
                        continue
                    await self._build(label_set)
                    self.metrics.label_set_built("ok", seconds := round(time.monotonic() - began, 3))
                    about = {"label_set": label_set.name, "version": label_set.version, "seconds": seconds}
                    logger.info("label_set_built", **about)
            except Exception as error:  # a fault of ours must not be tried for ever, nor end the service
                self.metrics.label_set_built(_failed(label_set, error), time.monotonic() - began)
            self.note()
            if label_set.failure and not label_set.final:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _build(self, label_set: LabelSet) -> None:
        """Make all embeddings of a set, store them and serve it."""
        record, model, at, paid = label_set.record, label_set.model, 0, 0
        made = np.zeros(record.definition.rows, row_type(model.manifest.embed_dim))
        for labels in _labels_of(record):
            paid += sum(len(prompts) for _, prompts in labels)
            async with self._turn(label_set, paid):
                texts = await embed_labels(model.texts, labels, truncate=record.definition.truncate)
            made[at : (at := at + len(texts))] = [(text.vector, text.truncated) for text in texts]
            label_set.done = paid
        for examples in _examples_of(record):
            paid += len(examples)
            async with self._turn(label_set, paid):
                images = await _of_each(examples, model.images.encode)
            made[at : (at := at + len(images))] = [(image.vector, False) for image in images]
        np.save(file := io.BytesIO(), made, allow_pickle=False)
        stored = file.getvalue()
        with suppress(StoreUnavailable):  # then the next start makes them again
            await self.store.write(label_set.file(record), stored)
        await asyncio.to_thread(label_set.serve, record, stored)
        with suppress(StoreUnavailable):  # who changes the set next does it
            await self.tidy(label_set.name)

    @asynccontextmanager
    async def _turn(self, label_set: LabelSet, rows: int) -> AsyncIterator[None]:
        """A turn to encode, once so many rows of the set are paid, each as soon as the rate has room.

        So a key can pay for more than its rate allows at once, and another try does not pay again. Raises
        LabelSetFailed: the key was removed.
        """
        try:
            while self.charge and label_set.paid < rows:
                await when_there_is_room(partial(self.charge, 1))
                label_set.paid += 1
        except (Unauthenticated, PermissionDenied):
            reason = "the key that put it was removed before its build was complete: put it again."
            raise LabelSetFailed(reason) from None
        with self._running.lease(caller()) as turn:
            await turn.wait(1)
            yield

    async def _load(self, label_set: LabelSet, of: Record | Former) -> bool:
        """Serve a definition whose embeddings for this model are stored. False: they are not.

        Raises StoreUnavailable, unless people wrote the set.
        """
        if of.definition.model != label_set.model.name:
            return False
        try:
            stored = await self.store.read(label_set.file(of))
            await asyncio.to_thread(label_set.serve, of, stored)
        except ValueError:  # there are none, or they are damaged: they are made again
            return False
        except StoreUnavailable:
            if label_set.read_only:
                return False
            raise
        return True


async def check(model: ServedModel, record: Record) -> None:
    """Tokenize all prompts and decode all examples; the build encodes them later.

    Raises TextTooLong, InvalidInput: a prompt cannot be encoded, or an example is not an image or exceeds a limit.
    The index is that of its label.
    """
    for labels in _labels_of(record):
        with tell_label(labels):
            texts = [text for _, prompts in labels for text in prompts]
            await model.texts.tokenize(texts, truncate=record.definition.truncate)
    for examples in _examples_of(record):
        await _of_each(examples, model.images.check)


def _failed(label_set: LabelSet, error: Exception) -> str:
    """Log and keep why a build failed. Returns the error's code."""
    ours = not isinstance(error, ClipError)
    failure = error if isinstance(error, ClipError) else ClipError("the service failed unexpectedly.")
    about = {"label_set": label_set.name, "version": label_set.version, "reason": failure.detail}
    logger.warning("label_set_not_built", **about, exc_info=error if ours else None)
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None  # their frames hold embeddings
    label_set.failure, label_set.final = failure, ours or isinstance(error, InvalidInput | LabelSetFailed)
    return failure.code


def _labels_of(record: Record) -> Iterator[Prompts]:
    """The labels with their prompts, some at a time."""
    labels = [*enumerate(record.definition.prompts())]
    step = max(1, _PROMPTS // max((len(prompts) for _, prompts in labels), default=1))
    return (labels[start : start + step] for start in range(0, len(labels), step))


def _examples_of(record: Record) -> Iterator[list[tuple[int, int, bytes]]]:
    """The examples, some at a time: the position of the label of each, its own there, and its file."""
    of_labels = enumerate(record.definition.labels)
    examples = [
        (k, i, record.images[each]) for k, label in of_labels for i, each in enumerate(label.examples)
    ]
    return (examples[start : start + _EXAMPLES] for start in range(0, len(examples), _EXAMPLES))


async def _of_each(
    examples: list[tuple[int, int, bytes]], work: Callable[[bytes], Coroutine[Any, Any, T]]
) -> list[T]:
    """What `work` gives of each example, in order."""

    async def one(label: int, position: int, file: bytes) -> T:
        try:
            return await work(file)
        except InvalidInput as error:
            raise of_example(error, label, position) from None

    return await together(starmap(one, examples))
