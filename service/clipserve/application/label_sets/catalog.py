"""The label sets of this gateway, which follow the store and the folder of files.

`refresh` reads what has changed there: it loads what is built, builds the rest, and drops deleted sets. It runs at
the start, twice a second, and before a change. So the same code handles a set that was put at another gateway, one
whose build was interrupted by a crash, and one that was built for another model's fingerprint. A value that is no
set is passed over with a line in the log, and its set stays as it was.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from clipserve.api.limits import RequestLimits
from clipserve.application.label_sets.build import Builds, Charge
from clipserve.application.label_sets.definition import OURS, Former, Record, version_of
from clipserve.application.label_sets.request import NAME, LabelSetLimits, written
from clipserve.application.label_sets.served import STATES, LabelSet, State
from clipserve.application.label_sets.store import Folder, Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.concurrency import ended, kept_running
from clipserve.errors import ClipError, LabelSetReadOnly, StoreUnavailable, TooMany, check_limit
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import caller

_POLL_SECONDS = 0.5
_EMBEDDINGS = re.compile(r"(.+)\.([0-9a-f]{32})\.[0-9a-f]{16}\.npy")  # name, digest


class Catalog:
    """The label sets of this gateway; see the module.

    Attributes:
        entries: by name.
        loaded: whether the store was read at least once. `started`: whether `start` has returned.
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
        self.entries, self.store, self.loaded, self.started = dict[str, LabelSet](), store, False, False
        self.models, (self.limits, self.own_limits), self._lock = models, limits, asyncio.Lock()
        self._used = metrics.label_sets_used
        self._builds = Builds(store, metrics, self._note, self._tidy, charge)
        self._sources: list[Store] = [store, *([folder] if folder else [])]  # the last one has precedence
        self._listings: dict[Store, Mapping[str, str]] = {}
        self._unloaded = False  # what was listed is not all that is to be loaded or dropped
        self._seen: dict[str, tuple[Store, str, str]] = {}  # name -> its source, file and stamp
        self._sizes: dict[
            str, int | None
        ] = {}  # name -> bytes of what was put; None: people's, also a wrong one
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        for state in STATES:  # counted when asked for: a put must not look at all sets
            metrics.label_sets.labels(state).set_function(partial(self._count, state))

    async def start(self) -> None:
        """Load all label sets, if the store is there, and follow changes. Call it after the models have started."""
        with suppress(StoreUnavailable):
            await self.refresh()
        self._following = kept_running("label_sets", self._follow)
        self.started = True

    async def aclose(self) -> None:
        """Stop following changes, cancel all builds, and close the store."""
        tasks = [self._following, *(entry.task for entry in self.entries.values())]
        await ended([task for task in tasks if task])
        await self.store.aclose()

    async def settled(self, name: str) -> None:
        """Wait until the set is built, has failed or is deleted."""
        while (entry := self.entries.get(name)) and entry.state == "building":
            await self._changed.wait()

    async def _store(self, name: str, model: ServedModel, record: Record, payer: str | None) -> None:
        """Store a label set, and begin its build. `payer`: see `Record`. One at a time, so that limits hold.

        Raises LabelSetReadOnly, TooMany, StoreUnavailable.
        """
        async with self._lock:
            await self._refresh()
            self.check_writable(name)
            sizes = [size for size in (self._sizes | {name: record.size}).values() if size is not None]
            most, count, size = self.own_limits, len(sizes), sum(sizes)
            check_limit(TooMany, "there would be {:,} label sets, so delete one", count, most.max_label_sets)
            check_limit(TooMany, "all would have {:,} bytes, so delete one", size, most.max_label_sets_bytes)
            entry, former = self.entries.get(name), None
            if entry and entry.served and entry.served.digest != record.digest:
                former = Former(digest=entry.served.digest, definition=entry.served.definition)
            pays_for = version_of(record.digest, model.fingerprint)
            more = {"put": time.time(), "payer": payer, "pays_for": pays_for, "former": former}
            record = record.model_copy(update=more)
            await self.store.write(f"{name}.json", await asyncio.to_thread(record.to_bytes))
            self._sizes[name], self._unloaded = (
                record.size,
                True,
            )  # deleted before it was listed, it would stay
            await self._want(LabelSet(name, model, record, read_only=False), caller())
        with suppress(StoreUnavailable):  # who changes the set next does it
            await self._tidy(name)

    async def _delete(self, name: str) -> bool:
        """Delete a label set. False: there is no such set. Raises LabelSetReadOnly, StoreUnavailable."""
        await self.refresh()
        self.check_writable(name)
        deleted = await self.store.delete([f"{name}.json"])
        await self._tidy(name)
        return deleted

    def check_writable(self, name: str) -> None:
        """Raises LabelSetReadOnly: people have written a file of this name."""
        if self._sizes.get(name, 0) is None:
            raise LabelSetReadOnly(f"{name} comes from a file; change the file, or choose another name.")

    async def refresh(self) -> None:
        """Make the served sets and the builds match the store and the files.

        Raises:
            StoreUnavailable: of the store. The sets of what cannot be read stay as they are.
        """
        async with self._lock:
            await self._refresh()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(StoreUnavailable):  # the store has said so in the log
                await self.refresh()

    async def _refresh(self) -> None:
        failure: StoreUnavailable | None = None
        for source in self._sources:
            try:
                listing = await source.listing()
                self._unloaded |= listing != self._listings.get(source)
                self._listings[source] = listing
            except StoreUnavailable as error:
                failure = error if source is self.store else failure
        if self._unloaded:
            unread = await self._load_all()
            self._unloaded, failure = unread is not None, unread or failure
        self.loaded = self.loaded or self.store in self._listings
        if failure:
            raise failure

    async def _load_all(self) -> StoreUnavailable | None:
        """Load what has changed. Returns the error of what could not be read."""
        wanted: dict[str, tuple[Store, str, str]] = {}
        for source in self._sources:
            files = sorted(self._listings.get(source, {}).items())
            beside = "".join(stamp for file, stamp in files if not file.endswith((".json", ".toml", ".npy")))
            for file, stamp in files:
                name, _, kind = file.rpartition(".")
                if kind in ("json", "toml") and NAME.fullmatch(name):
                    wanted[name] = source, file, stamp + beside  # whose examples they may be
        for name in {*self.entries, *self._seen} - wanted.keys():
            self._seen.pop(name, None)
            self._sizes.pop(name, None)
            self._replace(name, None)
        failure = None
        for name, place in wanted.items():
            if place != self._seen.get(name):
                try:
                    await self._load(name, *place[:2])
                    self._seen[name] = place
                except StoreUnavailable as error:
                    failure = error
        self._note()
        return failure

    async def _load(self, name: str, source: Store, file: str) -> None:
        ours, record, model = not isinstance(source, Folder), None, None
        try:
            value = await source.read(file)
            if not isinstance(source, Folder) or value.startswith(OURS):
                ours, record = True, await asyncio.to_thread(Record.model_validate_json, value)
            else:
                record = await asyncio.to_thread(self._of_people, source, file, value)
            model = self.models.get(record.definition.model)
        except StoreUnavailable:
            raise
        except (ValueError, TypeError, RecursionError, ClipError) as error:  # whoever has written it
            if file not in await source.listing():  # it was just deleted
                return
            reason = error.detail if isinstance(error, ClipError) else str(error)
            logger.error("label_set_file_wrong", file=file, reason=reason, hint="the set stays as it was")
        if record and model:
            await self._want(LabelSet(name, model, record, not ours))
        elif record:
            self._replace(name, None)
            logger.warning("label_set_without_model", label_set=name, model=record.definition.model)
        self._sizes[name] = (record.size if record else 0) if ours else None

    def _of_people(self, folder: Folder, file: str, text: bytes) -> Record:
        request = written(folder, file, text)
        model = self.models.find(request.fields)
        return request.record(model.manifest, self.limits, self.own_limits)

    async def _want(self, entry: LabelSet, putter: str | None = None) -> None:
        """Serve or build what the entry says, unless it is on its way. `putter`: see `Builds.take`."""
        former = self.entries.get(entry.name)
        if former and former.read_only == entry.read_only and former.is_still(entry.record):
            return
        if former and former.model is entry.model:
            entry.served = former.served
        await self._builds.take(entry, putter)
        self._replace(entry.name, entry)

    def _replace(self, name: str, entry: LabelSet | None) -> None:
        former = self.entries.pop(name, None)
        if former and former.task:
            former.task.cancel()
        if entry:
            self.entries[name] = entry

    async def _tidy(self, name: str) -> None:
        """Delete the embeddings of this name that are of no definition of its set. Raises StoreUnavailable."""
        await self.refresh()
        if (entry := self.entries.get(name)) is None and name in self._sizes:
            return  # another gateway serves its model
        kept = {of.digest for of in (entry.record, entry.record.former) if of} if entry else set[str]()
        found = [match for file in self._listings[self.store] if (match := _EMBEDDINGS.fullmatch(file))]
        await self.store.delete([each[0] for each in found if each[1] == name and each[2] not in kept])

    def _note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _count(self, state: State) -> int:
        """How many sets are in this state; any thread may ask."""
        return sum(entry.state == state for entry in list(self.entries.values()))
