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
from collections.abc import Iterable, Mapping

from clipserve.application.label_sets.building import Wanted
from clipserve.application.label_sets.builds import Builds
from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.entry import STATES, UNREADABLE, Entry, unreadable
from clipserve.application.label_sets.folder import Folder
from clipserve.application.label_sets.loading import former_set, stored_set
from clipserve.application.label_sets.paying import Charge
from clipserve.application.label_sets.records import Build, Pointer
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import kept_running
from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_POLL_SECONDS = 0.25
_AGAIN_SECONDS = 2.0  # after a build that may succeed later, and to see whether another gateway still builds


class Catalog:
    """See the module. `entries`: by name. `loaded`: whether the store has been read once."""

    def __init__(
        self,
        models: Models,
        store: Store,
        folder: Folder | None,
        metrics: Metrics,
        charge: Charge | None = None,
    ) -> None:
        """`charge` takes the rows of a build from the rate of the key that has put the set."""
        self.entries: dict[str, Entry] = {}
        self.loaded = False
        self._models = models
        self._store = store
        self._folder = folder
        self._metrics = metrics
        self._builds = Builds(store, metrics, self._note, charge)
        self._revision: int | None = None
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._lost = False
        self._without_model: set[str] = set()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is there, and follow it from now on."""
        try:
            await self.refresh()
        except StoreUnavailable as error:
            self._say_lost(error)
        self._following = kept_running("label_sets", self._follow)

    async def aclose(self) -> None:
        """End that, and all builds."""
        running = [entry.task for entry in self.entries.values() if entry.task]
        running += [self._following] if self._following else []
        self._following = None
        await _ended(running)

    async def _follow(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                if await self._due(time.monotonic() - last):
                    last = time.monotonic()
                    await self.refresh()
                self._lost = False
            except StoreUnavailable as error:
                self._say_lost(error)

    async def _due(self, seconds: float) -> bool:
        """Whether to look again, so many seconds after the last time. The store comes last: it may be away."""
        if self._folder and await self._folder.changed():
            return True
        unfinished = not all(entry.ready or entry.final for entry in self.entries.values())
        if unfinished and seconds > _AGAIN_SECONDS:
            return True
        return await self._store.revision() != self._revision

    async def refresh(self) -> None:
        """Make what is served, or on its way, what it should be.

        Raises:
            StoreUnavailable: sets of the store stay as they are.
        """
        async with self._lock:
            wanted = await self._folder.read(self._models) if self._folder else {}
            try:
                revision = await self._store.revision()
                stored = await self._store.rows("sets")
            except StoreUnavailable:
                gone = {name for name, entry in self.entries.items() if entry.read_only} - wanted.keys()
                await self._follow_files(wanted, gone)
                raise
            await self._follow_files(wanted, self.entries.keys() - wanted.keys() - stored.keys())
            for name in stored.keys() - wanted.keys():
                await self._load(name, stored[name])
            self._revision, self.loaded = revision, True
            self._note()

    async def _follow_files(self, wanted: Mapping[str, Wanted], gone: Iterable[str]) -> None:
        for name in gone:
            self._drop(name)
        for each in wanted.values():
            await self._want(each, None)
        self._note()

    async def changed(self) -> None:
        """Until something has."""
        await self._changed.wait()

    def _settled(self, name: str, wanted: Pointer | Wanted) -> bool:
        """Whether there is nothing to do for this definition, or it is being done."""
        entry = self.entries.get(name)
        if entry is None or entry.wanted.digest != wanted.digest:
            return False
        tried, now = entry.wanted, wanted
        is_built_for = entry.task is not None and tried.payer == now.payer
        return entry.ready or is_built_for or (entry.final and tried.put == now.put)

    async def _load(self, name: str, row: bytes) -> None:
        try:
            await self._load_wanted(name, Pointer.from_bytes(row))
        except StoreUnavailable:
            raise
        except Exception:  # rows that a later version has written, or a damaged disk: the other sets are well
            self._unreadable(name)

    def _unreadable(self, name: str) -> None:
        """Show it as failed, for good; what was loaded of it before is served."""
        former = self.entries.get(name)
        if former and former.version == UNREADABLE:
            return
        logger.exception("label_set_unreadable", label_set=name, hint="put it again, or delete it")
        model = former.model if former else next(iter(self._models.values()))
        if former:
            self._end(former)
        self.entries[name] = unreadable(name, model, former.served if former else None)

    async def _load_wanted(self, name: str, pointer: Pointer) -> None:
        if self._settled(name, pointer):
            return
        stored = await self._store.get(("definitions", f"{name}/{pointer.digest}"))
        if stored is not None:  # else it has just been replaced, and the revision says so
            definition = await asyncio.to_thread(Definition.from_bytes, stored)
            paid = pointer.put, pointer.payer, pointer.pays_for
            await self._want(Wanted(name, pointer.digest, definition, None, *paid), pointer.previous)

    async def _want(self, wanted: Wanted, previous: str | None) -> None:
        if self._settled(wanted.name, wanted):
            return
        model = self._models.get(wanted.definition.model)
        if model is None:
            self._drop(wanted.name)
            if wanted.name not in self._without_model:
                self._without_model.add(wanted.name)
                logger.warning(
                    "label_set_without_model", label_set=wanted.name, model=wanted.definition.model
                )
            return
        entry = self._entry(wanted, model)
        try:
            await self._take_stored(entry, previous)
        except (StoreUnavailable, ValueError):  # the latter: its row is damaged
            if not entry.read_only:
                raise
            self._builds.start(entry)

    def _entry(self, wanted: Wanted, model: ServedModel) -> Entry:
        version = wanted.version(model.fingerprint)
        former = self.entries.get(wanted.name)
        if former is not None and former.version == version:
            self._end(former)  # it is tried again, perhaps for another key
            if former.final:
                former.error, former.final = None, False
            former.wanted = wanted
            return former
        if former is not None:
            self._end(former)
        # A set that has moved to another model is not served by the former one any more.
        served = former.served if former and former.model is model else None
        entry = self.entries[wanted.name] = Entry(wanted, model, version, served)
        return entry

    async def _take_stored(self, entry: Entry, previous: str | None) -> None:
        """Serve what is built; else see that it is."""
        name = entry.wanted.name
        row = await self._store.get(("builds", f"{name}/{entry.version}"))
        build = None if row is None else Build.from_bytes(row)
        if build and build.built is not None:
            entry.served = await stored_set(self._store, entry, entry.wanted.digest, entry.wanted.definition)
        if entry.ready:
            entry.error = None
            return
        if entry.served is None and previous is not None:
            entry.served = await former_set(self._store, entry, previous)
        if build and build.is_by_another(self._builds.owner):
            entry.done = build.done
        else:
            self._builds.start(entry)

    def _drop(self, name: str) -> None:
        if entry := self.entries.pop(name, None):
            self._end(entry)

    def _end(self, entry: Entry) -> None:
        if entry.task:
            entry.task.cancel()

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        states = [entry.state for entry in self.entries.values()]
        self._metrics.label_sets.states({state: states.count(state) for state in STATES})

    def _say_lost(self, error: StoreUnavailable) -> None:
        if not self._lost:
            self._lost = True
            logger.warning("label_set_store_lost", reason=error.detail)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()  # `clipserve.concurrency` says why
