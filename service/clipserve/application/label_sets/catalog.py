"""All label sets as this gateway has them, which follow the store and the folder of files.

How it works. The store says which definition each name is to have. `refresh` compares that with what is served
here: what is built already is loaded, what is not is built, what is gone is dropped. It runs at the start,
after each change that this gateway makes, and whenever the store's revision says that somebody has changed
something. So a set that is put here, one that was put at another gateway, one whose build ended with a crash,
and one that was built for another model's fingerprint are all one case. Until a new version is built, the old
one is served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from clipserve.application.label_sets.builds import Builds
from clipserve.application.label_sets.definition import Definition, version_of
from clipserve.application.label_sets.entry import STATES, LabelSet, Wanted, unreadable
from clipserve.application.label_sets.folder import Folder
from clipserve.application.label_sets.paying import Charge
from clipserve.application.label_sets.records import Pointer
from clipserve.application.label_sets.served_set import ServedSet
from clipserve.application.label_sets.shelf import Shelf
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.concurrency import ended, kept_running
from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_POLL_SECONDS = 0.25
_AGAIN_SECONDS = 2.0  # after a build that may succeed later, and to see whether another gateway still builds


class Catalog:
    """See the module. `entries`, and the `sizes` in bytes of those in the store: by name.

    `loaded`: whether the store has been read once.
    """

    def __init__(
        self,
        models: Models,
        store: Store,
        folder: Folder | None,
        metrics: Metrics,
        charge: Charge | None = None,
    ) -> None:
        """`charge` takes the rows of a build from the rate of the key that has put the set."""
        self.entries: dict[str, LabelSet] = {}
        self.sizes: dict[str, int] = {}
        self.loaded = False
        self._models = models
        self._shelf = Shelf(store)
        self._folder = folder
        self._metrics = metrics
        self._builds = Builds(self._shelf, metrics, self._note, charge)
        self._revision: int | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._without_model: set[str] = set()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is there, and follow it from now on."""
        with suppress(StoreUnavailable):
            await self.refresh()
            await self._shelf.drop_orphans([name for name, each in self.entries.items() if each.read_only])
        self._following = kept_running("label_sets", self._follow)

    async def aclose(self) -> None:
        """End that, and all builds; give back the store."""
        running = [entry.task for entry in self.entries.values() if entry.task]
        running += [self._following] if self._following else []
        self._following = None
        await ended(running)
        await self._shelf.aclose()

    async def changed(self) -> None:
        """Until something has."""
        await self._changed.wait()

    async def put(self, wanted: Wanted, definition: bytes, images: Mapping[str, bytes]) -> None:
        """Keep it, and begin its build; see `Shelf.keep`. Raises StoreUnavailable."""
        assert wanted.pointer
        announced = self._builds.announced(wanted.digest, wanted.definition.prompt_count())
        await self._shelf.keep(wanted.name, wanted.pointer, definition, images, announced)
        await self.refresh(wanted)
        entry = self.entries.get(wanted.name)
        if entry and entry.ready and entry.task is None:  # no build does it
            await self._builds.tidy(entry)

    async def delete(self, name: str) -> bool:
        """False: there is none. Raises StoreUnavailable."""
        deleted = await self._shelf.forget(name)
        await self.refresh()
        return deleted

    async def _follow(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(StoreUnavailable):  # the store has said so in the log
                if await self._due(time.monotonic() - last):
                    last = time.monotonic()
                    await self.refresh()

    async def _due(self, seconds: float) -> bool:
        """Whether to look again, so many seconds after the last time. The store comes last: it may be away."""
        if self._folder and await self._folder.changed():
            return True
        unfinished = not all(entry.ready or entry.final for entry in self.entries.values())
        if unfinished and seconds > _AGAIN_SECONDS:
            return True
        return await self._shelf.revision() != self._revision

    async def refresh(self, written: Wanted | None = None) -> None:
        """Make what is served, or on its way, what it should be. `written`: what was put here just now.

        Raises:
            StoreUnavailable: sets of the store stay as they are.
        """
        async with self._lock:
            files = await self._folder.read(self._models) if self._folder else {}
            try:
                revision = await self._shelf.revision()
                pointers = await self._shelf.pointers()
            except StoreUnavailable:
                kept = [name for name, entry in self.entries.items() if not entry.read_only]
                await self._follow_files(files, kept)
                raise
            await self._follow_files(files, pointers)
            self.sizes = {name: pointer.size if pointer else 0 for name, pointer in pointers.items()}
            for name in pointers.keys() - files.keys():
                await self._load(name, pointers[name], written)
            self._revision, self.loaded = revision, True
            self._note()

    async def _follow_files(self, files: Mapping[str, Wanted], stored: Collection[str]) -> None:
        for name in self.entries.keys() - files.keys() - set(stored):
            self._end(self.entries.pop(name))
        for each in files.values():
            if not self._is_settled(each.name, each.digest, None):
                await self._want(each)
        self._note()

    async def _load(self, name: str, pointer: Pointer | None, written: Wanted | None) -> None:
        try:
            if pointer is None:
                raise ValueError("its pointer is damaged")
            if self._is_settled(name, pointer.digest, pointer):
                return
            if written and (written.name, written.pointer) == (name, pointer):
                await self._want(written)
            elif definition := await self._shelf.definition(name, pointer.digest):
                await self._want(Wanted(name, pointer.digest, definition, pointer))
            # Else it has just been replaced, and the revision says so.
        except StoreUnavailable:
            raise
        except Exception:  # rows that a later version has written, or a damaged disk: the other sets are well
            self._unreadable(name)

    def _unreadable(self, name: str) -> None:
        """Show it as failed, for good; what was loaded of it before is served."""
        former = self.entries.get(name)
        if former and not former.version:
            return
        logger.exception("label_set_unreadable", label_set=name, hint="put it again, or delete it")
        model = former.model if former else next(iter(self._models.values()))
        if former:
            self._end(former)
        self.entries[name] = unreadable(name, model, former.served if former else None)

    def _is_settled(self, name: str, digest: str, pointer: Pointer | None) -> bool:
        entry = self.entries.get(name)
        return entry is not None and entry.is_settled(digest, pointer)

    async def _want(self, wanted: Wanted) -> None:
        model = self._models.get(wanted.definition.model)
        if former := self.entries.get(wanted.name):
            self._end(former)
        if model is None:
            self.entries.pop(wanted.name, None)
            if wanted.name not in self._without_model:
                self._without_model.add(wanted.name)
                logger.warning(
                    "label_set_without_model", label_set=wanted.name, model=wanted.definition.model
                )
            return
        if former and former.version == version_of(wanted.digest, model.fingerprint):
            # It is tried again, perhaps for another key.
            failure = None if former.final else former.failure
            entry = replace(former, wanted=wanted, failure=failure, final=False, task=None)
        else:  # a set that has moved to another model is not served by the former one any more
            entry = LabelSet(wanted, model, former.served if former and former.model is model else None)
        self.entries[wanted.name] = entry
        await self._take_stored(entry)

    async def _take_stored(self, entry: LabelSet) -> None:
        """Serve what is built; else see that it is."""
        wanted, build = entry.wanted, None
        try:
            build = await self._shelf.build(entry.name, entry.version)
            if build and build.built is not None:
                served = await self._stored_set(entry, wanted.digest, wanted.definition)
                entry.served = served or entry.served
            if entry.served is None and wanted.pointer and wanted.pointer.previous:
                entry.served = await self._former_set(entry, wanted.pointer.previous)
        except StoreUnavailable:
            if not entry.read_only:
                raise
        if entry.ready:
            entry.failure = None
        elif build and self._builds.is_elsewhere(build):
            entry.done = build.done
        else:
            self._builds.start(entry)

    async def _stored_set(self, entry: LabelSet, digest: str, definition: Definition) -> ServedSet | None:
        """The set of this definition; None: its embeddings are not there, or are damaged."""
        weights = await self._shelf.weights(entry.name, version_of(digest, entry.fingerprint))
        return await asyncio.to_thread(entry.set_of, digest, definition, weights)

    async def _former_set(self, entry: LabelSet, digest: str) -> ServedSet | None:
        """What is served until the new definition is built; None: nothing."""
        with suppress(ValueError):  # it is damaged
            if definition := await self._shelf.definition(entry.name, digest):
                return await self._stored_set(entry, digest, definition)
        return None

    def _end(self, entry: LabelSet) -> None:
        if entry.task:
            entry.task.cancel()

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        states = [entry.state for entry in self.entries.values()]
        self._metrics.label_sets.states({state: states.count(state) for state in STATES})
