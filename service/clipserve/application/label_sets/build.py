"""The label sets of this gateway and their builds, which make embeddings and store them.

The gateway where a set was put builds it at once. The others wait for its embeddings, and build it after a minute:
the one may be gone. Two that build the same store the same.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from itertools import starmap
from typing import Any, TypeVar

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Definition, Record, of_example
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.label_sets.store import Store
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput, StoreUnavailable
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, caller, task_context

T = TypeVar("T")

_PROMPTS, _EXAMPLES = 256, 16  # at a time: a quarter of a second of a slow encoder
_AT_A_TIME = 2  # of these, so that a small set does not wait for a large one
_AGAIN_SECONDS = 2.0  # after a try that may succeed later
_OTHERS_SECONDS = 60.0  # of the gateway where a set was put
_LOOK_SECONDS = 0.5


class Entries(dict[str, LabelSet]):
    """The label sets of this gateway by name, served or on their way. Callers take turns at builds."""

    def __init__(self, store: Store, metrics: Metrics, tidy: Callable[[str], Awaitable[None]]) -> None:
        """`tidy`: deletes what a new version of this name leaves behind."""
        super().__init__()
        self._store, self._metrics, self._tidy = store, metrics, tidy
        self._running = Quota("builds", _AT_A_TIME)

    def drop(self, name: str) -> None:
        """Serve the set no more, and end its build."""
        before = self.pop(name, None)
        if before and before.task:
            before.task.cancel()

    async def want(self, label_set: LabelSet, putter: str | None = None) -> None:
        """Serve a set if it is built; else build it, and serve the previous one meanwhile.

        `putter`: the caller who put it here, and whose turns its build takes; None: it was not put here. Raises
        StoreUnavailable.
        """
        before = self.get(label_set.name)
        if before and before.is_still(label_set):
            return
        if before and before.model is label_set.model:
            label_set.served = before.served
        if not await self._load(label_set, label_set.definition):
            if label_set.served is None and label_set.record.previous:
                await self._load(label_set, label_set.record.previous)
            self._begin(label_set, putter)
        self.drop(label_set.name)
        self[label_set.name] = label_set

    def _begin(self, label_set: LabelSet, putter: str | None) -> None:
        record, others = label_set.record, 0.0
        if putter is None and record.version == label_set.version:  # clocks may differ
            others = min(record.put + _OTHERS_SECONDS - time.time(), _OTHERS_SECONDS)
        request = RequestContext(f"label-set-{label_set.version}", address=putter or "", bulk=True)
        running = self._run(label_set, time.monotonic() + others)
        task = label_set.task = asyncio.create_task(running, context=task_context(request))
        task.add_done_callback(lambda _: setattr(label_set, "task", None))  # its frames hold the set

    async def _run(self, label_set: LabelSet, others_until: float) -> None:
        """Build a set, again and again while that may succeed later. `others_until`: another gateway may do it."""
        began = time.monotonic()
        while not label_set.built and not label_set.final:
            try:
                if await self._load(label_set, label_set.definition):
                    return
                if time.monotonic() < others_until:
                    await asyncio.sleep(_LOOK_SECONDS)
                else:
                    await self._build(label_set)
                    self._metrics.label_set_built("ok", seconds := round(time.monotonic() - began, 3))
                    about = {"label_set": label_set.name, "version": label_set.version, "seconds": seconds}
                    logger.info("label_set_built", **about)
            except Exception as error:  # a fault of ours must not be tried for ever, nor end the service
                self._metrics.label_set_built(_failed(label_set, error), time.monotonic() - began)
                if not label_set.final:
                    await asyncio.sleep(_AGAIN_SECONDS)

    async def _build(self, label_set: LabelSet) -> None:
        """Make all embeddings of a set, float32 [n, D]: see `ServedSet.of`. Store and serve them."""
        record, model, vectors = label_set.record, label_set.model, []
        label_set.done = 0
        for labels in _labels_of(record):
            async with self._turn():
                texts = await embed_labels(model.texts, labels, truncate=record.definition.truncate)
            vectors += [text.vector for text in texts]
            label_set.done += sum(len(prompts) for _, prompts in labels)
        vectors += [image.vector for image in await _of_examples(record, model.images.encode, self._turn)]
        np.save(file := io.BytesIO(), np.stack(vectors).astype("<f4"), allow_pickle=False)
        stored = file.getvalue()
        with suppress(StoreUnavailable):  # then the next start makes them again
            await self._store.write(label_set.file(record.definition), stored)
        await asyncio.to_thread(label_set.serve, record.definition, stored)
        with suppress(StoreUnavailable):  # who changes the set next does it
            await self._tidy(label_set.name)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with self._running.lease(caller()) as turn:
            await turn.wait(1)
            yield

    async def _load(self, label_set: LabelSet, definition: Definition) -> bool:
        """Serve a definition whose embeddings for this model are stored. False: they are not.

        Raises StoreUnavailable.
        """
        with suppress(ValueError):  # they are damaged, and made again
            stored = await self._store.read(label_set.file(definition))
            if stored is not None:
                await asyncio.to_thread(label_set.serve, definition, stored)
                return True
        return False


async def check(model: ServedModel, record: Record) -> None:
    """Tokenize all prompts and decode all examples; the build encodes them later.

    Raises TextTooLong, InvalidInput: a prompt cannot be encoded, or an example is not an image or exceeds a limit.
    The index is that of its label.
    """
    for labels in _labels_of(record):
        with tell_label(labels):
            texts = [text for _, prompts in labels for text in prompts]
            await model.texts.tokenize(texts, truncate=record.definition.truncate)
    await _of_examples(record, model.images.check)


def _failed(label_set: LabelSet, error: Exception) -> str:
    """Log and keep why a build failed. Returns the error's code."""
    ours = not isinstance(error, ClipError)
    failure = error if isinstance(error, ClipError) else ClipError("the service failed unexpectedly.")
    about = {"label_set": label_set.name, "version": label_set.version, "reason": failure.detail}
    logger.warning("label_set_not_built", **about, exc_info=error if ours else None)
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None  # their frames hold embeddings
    label_set.failure, label_set.final = failure, ours or isinstance(error, InvalidInput)
    return failure.code


def _labels_of(record: Record) -> Iterator[Prompts]:
    """The labels with their prompts, some at a time."""
    labels = [*enumerate(record.definition.prompts())]
    step = max(1, _PROMPTS // max((len(prompts) for _, prompts in labels), default=1))
    return (labels[start : start + step] for start in range(0, len(labels), step))


async def _of_examples(
    record: Record,
    work: Callable[[bytes], Coroutine[Any, Any, T]],
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> list[T]:
    """What `work` gives of each example, in order, some at a time. `turn`: around each time."""

    async def one(label: int, position: int, digest: str) -> T:
        try:
            return await work(record.images[digest])
        except InvalidInput as error:
            raise of_example(error, label, position) from None

    labels, done = record.definition.labels, list[T]()
    examples = [(k, i, each) for k, label in enumerate(labels) for i, each in enumerate(label.examples)]
    for start in range(0, len(examples), _EXAMPLES):
        async with turn():
            done += await together(starmap(one, examples[start : start + _EXAMPLES]))
    return done
