"""The building of one version of a label set, by one gateway of several.

How it works. A row of `builds` says who works on a version, and until when that is to be believed. Whoever writes
it must find it as they have read it, so that of two gateways one builds and the other waits. With each report of
progress the embeddings so far are stored. If the gateway dies, another takes over when its time is up, or the same
one when it starts again, and goes on from there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.encoding import encode_examples, encode_prompts
from clipserve.application.label_sets.paying import Account, Unpaid
from clipserve.application.label_sets.records import Build, Weights
from clipserve.application.label_sets.store import Key, Store
from clipserve.application.served_model import ServedModel
from clipserve.errors import StoreUnavailable

_REPORT_SECONDS = 1.0
_BELIEVED_SECONDS = 15.0  # without a report


class TakenOver(Exception):
    """Another gateway works on it, or nobody wants it any more."""


@dataclass(frozen=True)
class Wanted:
    """A definition that a model of this gateway is to have.

    `images`: its examples, by their SHA-256, if it comes from a file; None: it is in the store.
    `put`, `payer`, `pays_for`: see `Pointer`.
    """

    name: str
    digest: str
    definition: Definition
    images: dict[str, bytes] | None = None
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""

    def version(self, fingerprint: str) -> str:
        return version_of(self.digest, fingerprint)


class Building:
    """One build. `progress` is told how many prompts are done."""

    def __init__(
        self,
        wanted: Wanted,
        model: ServedModel,
        store: Store,
        owner: str,
        account: Account,
        progress: Callable[[int], None],
    ) -> None:
        """`owner`: the gateway."""
        self._account = account
        self._wanted = wanted
        self._model = model
        self._store = store
        self._owner = owner
        self._progress = progress
        version = wanted.version(model.fingerprint)
        self._row: Key = ("builds", f"{wanted.name}/{version}")
        self._weights: Key = ("weights", f"{wanted.name}/{version}")
        self._last: bytes | None = None  # what the row holds, as far as we know

    async def run(self) -> Weights:
        """Claim, build, store.

        Raises:
            TakenOver: see there.
            Unpaid: its key has no rate left for what comes next; what there is so far is stored.
            InvalidInput, LabelSetFailed: the definition cannot be built, now or later.
            BackendUnavailable, BackendFailed, StoreUnavailable: it may be possible later.
        """
        build = await self._claim()
        try:
            return await self._run(build)
        except (asyncio.CancelledError, Unpaid):
            with suppress(TakenOver, StoreUnavailable):
                await self._write(build, {}, believed=0.0)  # another may go on at once
            raise

    async def _run(self, build: Build) -> Weights:
        definition = self._wanted.definition
        weights = await self._begun()
        reported = time.monotonic()
        done = definition.prompt_count(len(weights.texts))
        try:
            async for so_far in encode_prompts(self._model, definition, weights, self._account):
                weights = so_far
                done = definition.prompt_count(len(weights.texts))
                self._progress(done)
                if time.monotonic() - reported > _REPORT_SECONDS:
                    await self._report(replace(build, done=done), weights)
                    reported = time.monotonic()
        except Unpaid:
            await self._report(replace(build, done=done), weights)
            raise
        await self._report(replace(build, done=build.total, built=time.time()), weights)
        return weights

    async def _claim(self) -> Build:
        self._last = await self._store.get(self._row)
        build = Build.found(self._last)
        if build is None:
            build = Build(self._wanted.digest, self._wanted.definition.prompt_count())
        if build.is_by_another(self._owner):
            raise TakenOver
        await self._write(replace(build, built=None), {})
        return build

    async def _begun(self) -> Weights:
        """What there is already."""
        stored = await self._store.get(self._weights)
        if stored is not None:
            weights = await asyncio.to_thread(Weights.from_bytes, stored)
            if weights and weights.fit(self._wanted.definition, self._model.manifest.embed_dim):
                return weights
        images = self._wanted.images
        if images is None:
            images = await self._images()
        definition = self._wanted.definition
        examples = definition.vector_count - len(definition.names)
        await self._account.require(examples)
        encoded = await encode_examples(self._model, definition, images)
        self._account.spend(examples)
        return Weights.none(encoded)

    async def _images(self) -> dict[str, bytes]:
        images = {}
        for label in self._wanted.definition.labels:
            for digest in label.examples:
                file = await self._store.get(("images", f"{self._wanted.name}/{digest}"))
                if file is None:
                    raise TakenOver  # it has been replaced, and its images with it
                images[digest] = file
        return images

    async def _report(self, build: Build, weights: Weights) -> None:
        await self._write(build, {self._weights: await asyncio.to_thread(weights.to_bytes)})

    async def _write(self, build: Build, puts: dict[Key, bytes], believed: float = _BELIEVED_SECONDS) -> None:
        row = replace(build, owner=self._owner, until=time.time() + believed).to_bytes()
        if not await self._store.change(puts | {self._row: row}, expected={self._row: self._last}):
            raise TakenOver
        self._last = row
