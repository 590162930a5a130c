"""Gateways that share a store: several `LabelSets` in one process. And stores that can be lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipserve.application.charging import Charge
from clipserve.application.inference import Inference
from clipserve.application.label_sets.request import LabelSetLimits
from clipserve.application.label_sets.served import LabelSet
from clipserve.application.label_sets.service import LabelSets
from clipserve.application.label_sets.store import Folder, Store
from clipserve.application.models import Models
from clipserve.errors import StoreUnavailable
from loadtests.fake_backend import FakeBackend
from tests.application.label_sets.making import MOST, Counted, put_of
from tests.application.label_sets.memory_store import MemoryStore
from tests.constants import with_constants
from tests.support import inference_of, served_model, write_toy_artifact


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


OpenSite = Callable[..., Awaitable[Site]]
OpenStore = Callable[[], Store]


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[OpenSite]:
    """Opens a gateway on `store`; `choices`: what makes its model's fingerprint another one."""
    artifact = await write_toy_artifact(tmp_path / "toy")
    async with AsyncExitStack() as stack:

        async def open_(
            store: Store | None = None,
            *choices: str,
            backend: FakeBackend | None = None,
            files: Path | None = None,
            charge: Charge | None = None,
            **limits: float,
        ) -> Site:
            backend = backend or Counted()
            model = served_model(artifact, backend, choices=choices)
            await model.start(artifact)
            models = Models({"toy": model})
            folder = Folder(files, MOST) if files else None
            patient = LabelSetLimits(put_wait_seconds=60)  # a busy machine has its time
            own_limits = with_constants(patient, limits)
            inference = inference_of(
                models, store=store or MemoryStore(), folder=folder, own_limits=own_limits, charge=charge
            )
            stack.push_async_callback(inference.label_sets.aclose)
            await inference.label_sets.start()
            if isinstance(backend, Counted):
                backend.texts = backend.images = backend.asked = 0
            return Site(inference, backend, model.fingerprint)

        yield open_


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store, not there yet."""
    return tmp_path / "state" / "clipserve" / "label-sets"


@pytest.fixture
def another(folder: Path) -> OpenStore:
    """Opens the same store, as another gateway does."""
    return lambda: Folder(folder, MOST)
