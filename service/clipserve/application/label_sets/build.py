"""The label sets of this gateway and their builds, which make embeddings and store them.

The gateway where a set was put builds it at once. The others wait for its embeddings, and build it after a minute:
the one may be gone. Two that build the same store the same.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from clipserve.application.classifiers import Prompts, embed_labels, tell_label
from clipserve.application.label_sets.definition import Definition, Record, of_example
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.label_sets.store import Store
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import together
from clipserve.errors import ClipError, InvalidInput, StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, task_context

_PROMPTS, _EXAMPLES = 256, 16  # at a time: a quarter of a second of a slow encoder
_AT_A_TIME = 2  # of these, so that a small set does not wait for a large one
_AGAIN_SECONDS = 2.0  # after a try that may succeed later
_OTHERS_SECONDS = 60.0  # of the gateway where a set was put
_LOOK_SECONDS = 0.5


class Entries(dict[str, LabelSet]):
    """The label sets of this gateway by name, served or on their way."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        super().__init__()
        self._store, self._metrics = store, metrics
        self._running = asyncio.Semaphore(_AT_A_TIME)

    def drop(self, name: str) -> None:
        """Serve the set no more, and end its build."""
        if (before := self.pop(name, None)) and before.task:
            before.task.cancel()

    async def want(self, label_set: LabelSet, *, put_here: bool = False) -> None:
        """Serve a set if it is built; else build it, and serve the previous one meanwhile.

        A set that was put at another gateway is built there. Raises StoreUnavailable.
        """
        before, record = self.get(label_set.name), label_set.record
        again = before and before.record.put != record.put  # so one that has failed is built again
        if before and before.version == label_set.version and (before.built or before.task or not again):
            return
        if before:
            label_set.served = before.served
        if not await self._load(label_set, label_set.definition):
            if label_set.served is None and record.previous:
                await self._load(label_set, record.previous)
            others = 0.0
            if not put_here and record.version == label_set.version:  # clocks may differ
                others = min(record.put + _OTHERS_SECONDS - time.time(), _OTHERS_SECONDS)
            context = task_context(RequestContext(f"label-set-{label_set.version}", bulk=True))
            running = self._run(label_set, time.monotonic() + others)
            task = label_set.task = asyncio.create_task(running, context=context)
            task.add_done_callback(lambda _: setattr(label_set, "task", None))  # its frames hold the set
        self.drop(label_set.name)
        self[label_set.name] = label_set

    async def _run(self, label_set: LabelSet, others_until: float) -> None:
        """Build a set, again and again while that may succeed later. `others_until`: another gateway may do it."""
        began, about = time.monotonic(), {"label_set": label_set.name, "version": label_set.version}
        while not label_set.built:
            try:
                if await self._load(label_set, label_set.definition):
                    return
                if time.monotonic() < others_until:
                    await asyncio.sleep(_LOOK_SECONDS)
                else:
                    await self._build(label_set)
                    self._metrics.label_set_built("ok", seconds := round(time.monotonic() - began, 3))
                    logger.info("label_set_built", **about, seconds=seconds)
            except Exception as error:  # a fault of ours must not be tried for ever, nor end the service
                told = error if isinstance(error, ClipError) else ClipError("the service failed.")
                label_set.error = told.detail
                self._metrics.label_set_built(told.code, time.monotonic() - began)
                ours = None if told is error else error
                logger.warning("label_set_not_built", **about, reason=told.detail, exc_info=ours)
                if ours or isinstance(error, InvalidInput):
                    return  # another try would fail too
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _build(self, label_set: LabelSet) -> None:
        """Make all embeddings of a set, float32 [n, D]: see `ServedSet.of`. Store and serve them."""
        record, model, vectors = label_set.record, label_set.model, []
        label_set.done = 0
        for labels in _labels_of(record):
            async with self._running:
                texts = await embed_labels(model.texts, labels, truncate=record.definition.truncate)
            vectors += [text.vector for text in texts]
            label_set.done += sum(len(prompts) for _, prompts in labels)
        for examples in _examples_of(record):
            async with self._running:
                images = await together(model.images.encode(image) for *_, image in examples)
            vectors += [image.vector for image in images]
        np.save(file := io.BytesIO(), np.stack(vectors).astype("<f4"), allow_pickle=False)
        stored = file.getvalue()
        with suppress(StoreUnavailable):  # then the next start makes them again
            await self._store.write(label_set.file(record.definition), stored)
        await asyncio.to_thread(label_set.serve, record.definition, stored)

    async def _load(self, label_set: LabelSet, definition: Definition) -> bool:
        """Serve a definition whose embeddings for this model are stored. False: they are not.

        Raises StoreUnavailable.
        """
        with suppress(ValueError):  # they are damaged, and made again
            if (stored := await self._store.read(label_set.file(definition))) is not None:
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
    for examples in _examples_of(record):
        await together(_decoded(model, *example) for example in examples)


def _labels_of(record: Record) -> Iterator[Prompts]:
    """The labels with their prompts, some at a time."""
    labels = [*enumerate(record.definition.prompts())]
    step = max(1, _PROMPTS // max((len(prompts) for _, prompts in labels), default=1))
    return (labels[start : start + step] for start in range(0, len(labels), step))


def _examples_of(record: Record) -> Iterator[list[tuple[int, int, bytes]]]:
    """The examples, some at a time, each with its label's index and its own."""
    labels = enumerate(record.definition.labels)
    examples = [(k, i, record.images[each]) for k, label in labels for i, each in enumerate(label.examples)]
    return (examples[start : start + _EXAMPLES] for start in range(0, len(examples), _EXAMPLES))


async def _decoded(model: ServedModel, label: int, example: int, image: bytes) -> None:
    try:
        await model.images.check(image)
    except InvalidInput as error:
        raise of_example(error, label, example) from None
