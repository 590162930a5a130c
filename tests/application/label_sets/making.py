"""Gateways with label sets and without a front, their requests and backends, for the tests of this folder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipserve.api.label_sets import LabelSetFields
from clipserve.application.charging import Charge
from clipserve.application.inference import Inference
from clipserve.application.label_sets.definition import PutRequest, Record
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.label_sets.service import LabelSets
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import StoreUnavailable
from clipserve.telemetry.request import current
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, inference_of, served_model


class Counted(FakeBackend):
    """Counts rows; `asked` counts those that wait too.

    A build's call for texts waits while `gate` is closed, and fails with `error` if there is one.
    """

    def __init__(self) -> None:
        super().__init__(DIM)
        self.texts = self.images = self.asked = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.images += len(pixels)
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.asked += len(token_ids)
        if current() is not None:  # as it is in the self-test of a start
            await self.gate.wait()
            if self.error:
                raise self.error
        self.texts += len(token_ids)
        return await super().encode_text(token_ids, lengths)


@dataclass
class Site:
    """One gateway: its use cases, and its model's backend."""

    inference: Inference
    backend: FakeBackend
    fingerprint: str

    @property
    def sets(self) -> LabelSets:
        return self.inference.label_sets

    @property
    def states(self) -> dict[str, str]:
        """Of each set, by its name; none while the store could not be read."""
        try:
            return {each.name: each.state for each in self.sets.all()}
        except StoreUnavailable:
            return {}

    def ready(self, *names: str) -> bool:
        """These sets are, and no others."""
        return [name for name, state in self.states.items() if state == "ready"] == sorted(names)

    async def put(self, name: str = "pets", /, **fields: Any) -> LabelSet:
        return await self.sets.put(put_of(name, **fields))

    async def begin(self, **fields: Any) -> LabelSet:
        """Put pets, and do not wait for the build."""
        self.sets.put_wait_seconds = 0.01
        state = await self.put(**fields)
        self.sets.put_wait_seconds = 60
        return state


async def opened(
    artifact: Path,
    store: Store,
    *choices: str,
    backend: FakeBackend | None = None,
    charge: Charge | None = None,
) -> Site:
    """A gateway on `store`. `choices`: what makes its model's fingerprint another one."""
    backend = backend or Counted()
    model = served_model(artifact, backend, choices=choices)
    await model.start(artifact)
    inference = inference_of(Models({"toy": model}), store=store, charge=charge)
    if isinstance(backend, Counted):
        backend.texts = backend.images = backend.asked = 0
    await inference.label_sets.start()
    return Site(inference, backend, model.fingerprint)


def put_of(name: str = "pets", /, **fields: Any) -> PutRequest:
    """A request; without labels, of two. Examples are bytes of images."""
    labels = fields.get("labels", ["cat", "dog"])
    examples = [[] if isinstance(label, str) else label.get("examples", []) for label in labels]
    named = [label if isinstance(label, str) else label | {"examples": []} for label in labels]
    return PutRequest(name, LabelSetFields.model_validate(fields | {"labels": named}), examples)


async def built(sets: LabelSets, name: str = "pets") -> None:
    """Wait until it is built, cannot be built, or is deleted."""
    while (entry := sets.entries.get(name)) and entry.task and not entry.task.done():
        await asyncio.wait([entry.task])


async def record_in(store: Store, name: str = "pets") -> Record:
    return Record.model_validate_json(await store.read(f"{name}.json") or b"")


async def put_at(store: Store, when: float, name: str = "pets") -> None:
    """As if the set had been put at this time, in seconds since 1970."""
    record = (await record_in(store, name)).model_copy(update={"put": when})
    await store.write(f"{name}.json", record.to_bytes())
