"""Label sets, requests and backends for the tests of this folder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import LabelSetFields
from clipserve.api.limits import RequestLimits
from clipserve.application.label_sets.folder import Folder
from clipserve.application.label_sets.label_sets import LabelSets
from clipserve.application.label_sets.request import LabelSetLimits, PutRequest, put_request
from clipserve.application.label_sets.shelf import Pointer
from clipserve.application.label_sets.store import Kind, Store
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from loadtests.fake_backend import FakeBackend
from tests.support import DIM


class Counted(FakeBackend):
    """Counts rows. A call for texts waits while `gate` is closed; `asked` counts those that wait too."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.texts = self.images = self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.images += len(pixels)
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.asked += len(token_ids)
        await self.gate.wait()
        self.texts += len(token_ids)
        return await super().encode_text(token_ids, lengths)


def put_of(name: str = "pets", /, **fields: Any) -> PutRequest:
    """A request; without labels, of two. Examples are bytes of images."""
    examples: dict[str, ImageInput] = {}

    def named(label: Any) -> Any:
        if isinstance(label, str):
            return label
        names = []
        for image in label.get("examples", ()):
            key = str(len(examples))
            examples[key] = image
            names.append(key)
        return label | {"examples": names}

    given = {"labels": ["cat", "dog"]} | fields
    given["labels"] = [named(label) for label in given["labels"]]
    if isinstance(weights := given.get("weights"), bytes):  # as gRPC has them
        given["weights"] = base64.b64encode(weights).decode()
    return put_request(name, LabelSetFields.model_validate(given), examples.__getitem__)


@contextmanager
def not_waiting(sets: LabelSets) -> Iterator[None]:
    """A put that cannot be built says so at once, and not after two seconds."""
    before = sets.own_limits
    sets.own_limits = replace(before, put_wait_seconds=0.01)
    yield
    sets.own_limits = before


async def rows_of(store: Store, kind: Kind) -> dict[str, tuple[bytes, bytes]]:
    """All rows of a kind, head and body, by name."""
    heads = await store.heads(kind)
    bodies = await store.bodies(kind, list(heads))
    return {name: (head, bodies[name]) for name, head in heads.items() if name in bodies}


async def long_ago(store: Store) -> None:
    """As if `pets` had been put long ago, so that no gateway waits for another."""
    head, body = (await rows_of(store, "sets"))["pets"]
    pointer = Pointer.found(head)
    assert pointer
    await store.put("sets", "pets", pointer.model_copy(update={"put": 1.0}).to_bytes(), body)


def folder_of(path: Path) -> Folder:
    return Folder(path, RequestLimits(), LabelSetLimits())
