"""The label sets of this gateway, which follow the store and the folder of files.

`refresh` reads what has changed there: it loads what is built, builds the rest, and drops deleted sets. It runs at
the start, several times a second, and before a put. So the same code handles a set that was put at another gateway,
one whose build was interrupted by a crash, and one that was built for another model's fingerprint. Until a new
version is built, the former one is served. A value that is no set is passed over with a line in the log, and its
set stays as it was.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from clipserve.api.limits import RequestLimits
from clipserve.application.label_sets.build import Builds, Charge
from clipserve.application.label_sets.definition import OURS, Former, Record, version_of
from clipserve.application.label_sets.people import WRONG, reason_of, written
from clipserve.application.label_sets.request import NAME, LabelSetLimits
from clipserve.application.label_sets.served import STATES, LabelSet, State
from clipserve.application.label_sets.store import Folder, Source, Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import ended, kept_running
from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import caller

_POLL_SECONDS = 0.25
_PAUSE_TIMES = 9  # as long as a look took: following many sets that change has a tenth of the time,
_LONGEST_PAUSE_SECONDS = 2.0  # unless another gateway's change would be late


class Catalog:
    """The label sets of this gateway; see the module.

    Attributes:
        entries: by name.
        sizes: the bytes of the sets that were put, by name; 0 of one that cannot be read.
        read_only: the names of files that people write, also of wrong ones.
        loaded: whether the store was read at least once.
    """

    def __init__(
        self,
        models: Models,
        store: Store,
        folder: Folder | None,
        limits: tuple[RequestLimits, LabelSetLimits],
        metrics: Metrics,
        charge: Charge | None = None,
    ) -> None:
        """`folder`: more files that people write. `charge`: takes the rows of a build from the rate of its key."""
        self.entries: dict[str, LabelSet] = {}
        self.sizes: dict[str, int] = {}
        self.read_only: set[str] = set()
        self.loaded = False
        self._models, self._limits, self.store = models, limits, store
        self._sources: Sequence[Source] = [
            store,
            *([folder] if folder else []),
        ]  # the last one has precedence
        self._listings: dict[Source, Mapping[str, str]] = {}
        self._seen: dict[str, tuple[Source, str, str]] = {}  # name -> its source, file and stamp
        self._builds = Builds(store, metrics, lambda: self._listings.get(store, {}), self._note, charge)
        self._putters: dict[str, tuple[float, str]] = {}  # when a set was put here, and by which caller
        self._unloaded = False  # what was listed is not all that is to be loaded or dropped
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
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
        await self.store.aclose()

    async def settled(self, name: str) -> None:
        """Wait until the set is built, has failed or is deleted."""
        while (entry := self.entries.get(name)) and entry.state == "building":
            await self._changed.wait()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """A block in which no other gateway puts a set, and all sets are known here. Raises StoreUnavailable."""
        async with self.store.lock():
            await self.refresh()
            yield

    async def put(self, name: str, model: ServedModel, record: Record, payer: str | None) -> None:
        """Store a label set, and begin its build. `payer`: see `Record`. Raises StoreUnavailable."""
        entry, now, served = self.entries.get(name), time.time(), None
        if entry and entry.served and entry.served.digest != record.digest:
            served = Former(digest=entry.served.digest, definition=entry.served.definition)
        version = version_of(record.digest, model.fingerprint)
        paid = {"put": now, "payer": payer, "pays_for": version, "former": served}
        record = record.model_copy(update=paid)
        self._putters[name] = now, caller()
        await self.store.write(f"{name}.json", await asyncio.to_thread(record.to_bytes))
        async with self._lock:
            self.sizes[name] = record.size
            await self._want(name, model, record, read_only=False)
            self._unloaded = True  # deleted before it was listed, it would stay
            self._note()
        with suppress(StoreUnavailable):  # who changes the set next does it
            await self._builds.tidy(name, self.entries.get(name))

    async def delete(self, name: str) -> bool:
        """Delete a label set. False: there is no such set. Raises StoreUnavailable."""
        deleted = await self.store.delete([f"{name}.json"])
        self._putters.pop(name, None)
        await self.refresh()
        await self._builds.tidy(name, None)
        return deleted

    async def _follow(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(min(max(_POLL_SECONDS, _PAUSE_TIMES * took), _LONGEST_PAUSE_SECONDS))
            began = time.monotonic()
            with suppress(StoreUnavailable):  # the store has said so in the log
                await self.refresh()
            took = time.monotonic() - began

    async def refresh(self) -> None:
        """Make the served sets and the builds match the store and the files.

        Raises:
            StoreUnavailable: of the store. The sets of what cannot be read stay as they are.
        """
        async with self._lock:
            failure: StoreUnavailable | None = None
            changed = self._unloaded
            for source in self._sources:
                try:
                    listing = await source.listing()
                    changed |= listing != self._listings.get(source)
                    self._listings[source] = listing
                except StoreUnavailable as error:
                    failure = error if source is self.store else failure
            if changed:
                self._unloaded = True
                failure = await self._load_all() or failure
                self._unloaded = failure is not None
            self.loaded = self.loaded or self.store in self._listings
            if failure:
                raise failure

    async def _load_all(self) -> StoreUnavailable | None:
        wanted: dict[str, tuple[Source, str, str]] = {}
        for source in self._sources:
            listing = self._listings.get(source, {})
            files = [(file, *file.rpartition(".")[::2]) for file in sorted(listing)]
            beside = "".join(listing[file] for file, _, kind in files if kind not in ("json", "toml", "npy"))
            for file, name, kind in files:
                if kind in ("json", "toml") and NAME.fullmatch(name):
                    wanted[name] = source, file, listing[file] + beside  # whose examples they may be
        for name in {*self.entries, *self._seen} - wanted.keys():
            self._forget(name)
        names = [name for name, place in wanted.items() if place != self._seen.get(name)]
        random.shuffle(names)  # another gateway may build them too
        failure = None
        for name in names:
            try:
                await self._load(name, *wanted[name][:2])
                self._seen[name] = wanted[name]
            except StoreUnavailable as error:
                failure = error
        self._note()
        return failure

    async def _load(self, name: str, source: Source, file: str) -> None:
        ours, record, model = not isinstance(source, Folder), None, None
        try:
            value = await source.read(file)
            if not isinstance(source, Folder) or value.startswith(OURS):
                ours = True
                record = await asyncio.to_thread(Record.model_validate_json, value)
                model = self._models.get(record.definition.model)
            else:
                model, record = await asyncio.to_thread(
                    written, source, file, value, self._models, *self._limits
                )
        except StoreUnavailable:
            raise
        except WRONG as error:
            if file not in await source.listing():  # it was just deleted
                return
            logger.error(
                "label_set_file_wrong", file=file, reason=reason_of(error), hint="the set stays as it was"
            )
        if record and model:
            await self._want(name, model, record, read_only=not ours)
        elif record:
            self._forget(name)
            logger.warning("label_set_without_model", label_set=name, model=record.definition.model)
        if ours:
            self.read_only.discard(name)
            self.sizes[name] = record.size if record else 0
        else:
            self.read_only.add(name)
            self.sizes.pop(name, None)

    async def _want(self, name: str, model: ServedModel, record: Record, *, read_only: bool) -> None:
        former = self.entries.get(name)
        if former and former.read_only == read_only and former.is_still(record):
            return
        entry = LabelSet(
            name, model, record, read_only, former.served if former and former.model is model else None
        )
        put, putter = self._putters.get(name, (None, None))
        await self._builds.take(entry, putter if record.put == put else None)
        if former and former.task:
            former.task.cancel()
        self.entries[name] = entry

    def _forget(self, name: str) -> None:
        for known in (self._seen, self.sizes):
            known.pop(name, None)
        self.read_only.discard(name)
        former = self.entries.pop(name, None)
        if former and former.task:
            former.task.cancel()

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _count(self, state: State) -> int:
        """How many sets are in this state; any thread may ask."""
        return sum(entry.state == state for entry in list(self.entries.values()))
