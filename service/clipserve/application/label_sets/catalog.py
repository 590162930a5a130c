"""The label sets of this gateway, which follow the store and the folder of files.

How it works. The store has the wanted definition of each name. `refresh` compares it with the one that is here: it
loads what is built, builds the rest, and drops deleted sets. It runs at the start, and whenever the store's
revision has changed. So the same code handles a set that was put at another gateway, one whose build was
interrupted by a crash, and one that was built for another model's fingerprint. A set that is put here is loaded at
once, and alone: what a put costs must not grow with the number of sets. Until a new version is built, the former
one is served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial

from clipserve.application.label_sets.builds import Builds, Charge
from clipserve.application.label_sets.definition import Contents, Definition, version_of
from clipserve.application.label_sets.entry import STATES, LabelSet, State
from clipserve.application.label_sets.folder import FileSet, Folder
from clipserve.application.label_sets.shelf import Pointer, Shelf
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import ended, kept_running
from clipserve.errors import ClipError, StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import caller

_POLL_SECONDS = 0.25
_PAUSE_TIMES = 9  # as long as a look took: following many sets that change has a tenth of the time,
_LONGEST_PAUSE_SECONDS = 2.0  # unless another gateway's change would be late
_SWEEP_SECONDS = 3_600.0
_SWEEP_AGAIN_SECONDS = 60.0  # after one that has failed: the store may be read-only


class Catalog:
    """The label sets of this gateway; see the module.

    Attributes:
        entries: by name.
        sizes: the bytes of the sets in the store, by name.
        loaded: whether the store was read at least once.
    """

    def __init__(
        self,
        models: Models,
        store: Store,
        folder: Folder | None,
        metrics: Metrics,
        charge: Charge | None = None,
    ) -> None:
        """`charge`: takes the rows of a build from the rate of the key that put the set."""
        self.entries: dict[str, LabelSet] = {}
        self.sizes: dict[str, int] = {}
        self.loaded = False
        self._models = models
        self._store, self._shelf = store, Shelf(store)
        self._folder = folder
        self._builds = Builds(self._shelf, metrics, self._note, charge)
        self._putters: dict[str, tuple[float, str]] = {}  # when a set was put here, and by which caller
        self._revision: str | None = None
        self._to_sweep = False
        self._files: Mapping[str, FileSet] = {}
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._without_model: dict[str, str] = {}  # name -> digest of a set whose model is not served here
        self._following: asyncio.Task[None] | None = None
        for state in STATES:  # counted when asked for: a put must not look at all sets
            metrics.label_sets.labels(state).set_function(partial(self._count, state))

    async def start(self) -> None:
        """Load all label sets, and follow changes from now on."""
        with suppress(StoreUnavailable):
            await self.refresh()
        self._following = kept_running("label_sets", self._follow)

    async def aclose(self) -> None:
        """Stop following changes, cancel all builds, and close the store."""
        tasks = [self._following, *(entry.task for entry in self.entries.values())]
        self._following = None
        await ended([task for task in tasks if task])
        await self._store.aclose()

    async def settled(self, name: str) -> None:
        """Wait until the set is built, has failed or is deleted."""
        while (entry := self.entries.get(name)) and entry.state == "building":
            await self._changed.wait()

    async def put(
        self, name: str, model: ServedModel, contents: Contents, size: int, payer: str | None
    ) -> None:
        """Store a label set, and begin its build; see `Pointer`. Raises StoreUnavailable."""
        entry, now = self.entries.get(name), time.time()
        former = entry.served if entry and entry.served and entry.served.digest != contents.digest else None
        if former:
            contents = contents._replace(former=former.definition)
        pointer = Pointer(
            digest=contents.digest,
            former=former.digest if former else None,
            size=size,
            put=now,
            payer=payer,
            pays_for=version_of(contents.digest, model.fingerprint),
        )
        self._putters[name] = now, caller()  # a refresh may begin the build
        pointer = await self._shelf.keep(name, pointer, contents)
        self._to_sweep = True
        async with self._lock:
            await self._load(name, pointer)
            self.sizes[name] = size
            self._note()
        if not self._is_wanted(name, pointer.digest, pointer):  # it was just replaced
            await self.refresh()

    async def delete(self, name: str) -> bool:
        """Delete a label set. False: there is no such set. Raises StoreUnavailable."""
        deleted = await self._shelf.forget(name)
        self._putters.pop(name, None)
        self._to_sweep = True
        await self.refresh()
        return deleted

    async def _follow(self) -> None:
        to_sweep_at = took = 0.0
        while True:
            await asyncio.sleep(min(max(_POLL_SECONDS, _PAUSE_TIMES * took), _LONGEST_PAUSE_SECONDS))
            began = time.monotonic()
            with suppress(StoreUnavailable):  # the store has said so in the log
                files = await self._folder.read(self._models) if self._folder else self._files
                if files is not self._files or await self._store.revision() != self._revision:
                    await self.refresh()
                if self._to_sweep or time.monotonic() > to_sweep_at:
                    self._to_sweep = False
                    again_seconds = _SWEEP_SECONDS if await self._swept() else _SWEEP_AGAIN_SECONDS
                    to_sweep_at = time.monotonic() + again_seconds
                took = time.monotonic() - began

    async def _swept(self) -> bool:
        """Delete embeddings that nobody needs; see `Shelf`. False: the store does not let us."""
        entries = self.entries.values()
        needed = {
            version for entry in entries for version in (entry.version, entry.served_version) if version
        }
        try:
            await self._shelf.sweep(needed)
        except StoreUnavailable:
            return False
        return True

    async def refresh(self) -> None:
        """Make the served sets and the builds match the store and the files.

        Raises:
            StoreUnavailable: sets of the store stay as they are.
        """
        async with self._lock:
            files = await self._folder.read(self._models) if self._folder else {}
            try:
                revision = await self._store.revision()
                pointers = await self._shelf.pointers()
            except StoreUnavailable:
                await self._load_files(files, {n for n, entry in self.entries.items() if not entry.read_only})
                raise
            await self._load_files(files, pointers)
            self.sizes = {name: pointer.size if pointer else 0 for name, pointer in pointers.items()}
            for name in pointers.keys() - files.keys():
                await self._load(name, pointers[name])
            self._revision, self.loaded = revision, True
            self._note()

    async def _load_files(self, files: Mapping[str, FileSet], stored: Collection[str]) -> None:
        """Load the files, and drop what is neither in a file nor `stored`."""
        for name in self.entries.keys() - files.keys() - {*stored}:
            self._drop(name)
        for name, (model, contents) in files.items():
            if not self._is_wanted(name, contents.digest, None):
                await self._want(name, model, contents, None)
        self._files = files
        self._note()

    async def _load(self, name: str, pointer: Pointer | None) -> None:
        if pointer and (
            pointer.digest == self._without_model.get(name) or self._is_wanted(name, pointer.digest, pointer)
        ):
            return
        try:
            if pointer is None:
                raise ValueError("its pointer is damaged")
            contents = await self._shelf.contents(name, pointer)
            if model := self._models.get(contents.definition.model):
                self._without_model.pop(name, None)
                await self._want(name, model, contents, pointer)
                return
            self._drop(name)
            self._without_model[name] = pointer.digest
            logger.warning("label_set_without_model", label_set=name, model=contents.definition.model)
        except StoreUnavailable:
            raise
        except Exception:  # a row of a later version, or a damaged disk: the other sets are well
            if (await self._shelf.pointers()).get(name, ...) == pointer:  # else it was just replaced
                self._unreadable(name)

    def _unreadable(self, name: str) -> None:
        """Show it as failed, for good; what was loaded of it before is served."""
        former = self.entries.get(name)
        if former and not former.version:
            return
        logger.exception("label_set_unreadable", label_set=name, hint="put it again, or delete it")
        self._drop(name)
        model = former.model if former else next(iter(self._models.values()))
        entry = LabelSet(name, model, "", Definition(model=model.name, labels=[]), Pointer(digest=""))
        entry.served = former.served if former else None
        entry.fail(ClipError("its stored data cannot be read: put it again, or delete it."), final=True)
        self.entries[name] = entry

    def _is_wanted(self, name: str, digest: str, pointer: Pointer | None) -> bool:
        entry = self.entries.get(name)
        return entry is not None and entry.is_wanted(digest, pointer)

    async def _want(self, name: str, model: ServedModel, contents: Contents, pointer: Pointer | None) -> None:
        entry, former = LabelSet(name, model, contents.digest, contents.definition, pointer), self._drop(name)
        if former and former.model is model:  # one of another model is not served any more
            entry.served = former.served
        self.entries[name] = entry
        put, putter = self._putters.get(name, (None, None))
        await self._builds.take(entry, contents, putter if pointer and pointer.put == put else None)

    def _drop(self, name: str) -> LabelSet | None:
        former = self.entries.pop(name, None)
        if former and former.task:
            former.task.cancel()
        return former

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _count(self, state: State) -> int:
        """How many sets are in this state; any thread may ask."""
        return sum(entry.state == state for entry in list(self.entries.values()))
