"""The label sets of this gateway, which follow the store.

`refresh` reads what has changed in the store: it loads what is built, builds the rest, and drops deleted sets. It
runs at the start, twice a second, and before a change. So the same code handles a set that was put at another
gateway, one whose build was interrupted by a crash, and one that was built for another model's fingerprint. A value
that is no set is passed over with a line in the log, and its set stays as it was.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from clipserve.api.limits import RequestLimits
from clipserve.application.label_sets.build import Entries, check
from clipserve.application.label_sets.definition import NAME, OURS, PutRequest, Record, check_name, written
from clipserve.application.label_sets.served import LabelSet, ServedSet
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.concurrency import beside_loop, ended, kept_running
from clipserve.errors import ClipError, StoreUnavailable, TooMany, UnknownLabelSet, check_limit
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import remaining

_EMBEDDINGS = re.compile(r"(?P<name>.+)\.(?P<digest>[0-9a-f]{32})\.[0-9a-f]{16}\.npy")
_POLL_SECONDS = 0.5
_DAY = 86_400.0  # seconds, where a request has no deadline
MAX_SETS, MAX_SETS_BYTES = 1_000, 256_000_000  # of all sets together, with their embeddings
_DEFINITION_BYTES = 1_000_000  # about: a definition may have so many, and more


class LabelSets:
    """Puts, shows, deletes and finds label sets, and follows their store.

    Attributes:
        entries: by name, with their builds.
        loaded: whether the store was read at least once. `started`: whether `start` has returned.
        put_wait_seconds: what a put waits for the build before it answers that it has begun.
        part_for_build: of what is left to its deadline a request waits for a first build.
    """

    put_wait_seconds = 2.0
    part_for_build = 0.75

    def __init__(
        self,
        models: Models,
        store: Store,
        limits: RequestLimits,
        metrics: Metrics,
        charge: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`charge`: takes rows from the rate of the caller's key; raises RateLimited."""
        self.models, self.store, self.limits = models, store, limits
        self.entries, self.loaded, self.started = Entries(store, metrics), False, False
        self._used, self._charge, self._lock = metrics.label_sets_used, charge, asyncio.Lock()
        self._listing: Mapping[str, str] | None = None  # what is loaded; None: not all of it
        self._seen: dict[str, tuple[str, str]] = {}  # name -> its file and stamp
        self._following: asyncio.Task[None] | None = None
        metrics.label_sets_failed.set_function(self._failed)

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

    async def find(self, names: Sequence[str]) -> list[ServedSet]:
        """The served label sets of these names. It waits for first builds.

        Raises:
            UnknownLabelSet: there is no set of this name. LabelSetNotReady: it was not built in time.
            LabelSetFailed: it cannot be built. StoreUnavailable: the store has not been read yet.
        """
        found = []
        for name in names:
            entry = self.get(name)
            if entry.served is None and entry.task:
                await asyncio.wait([entry.task], timeout=self.part_for_build * remaining(_DAY))
                entry = self.get(name)
            if entry.served is None:
                raise entry.not_ready()
            found.append(entry.served)
        self._used.inc(len(found))
        return found

    def all(self) -> list[LabelSet]:
        """All label sets, by name. Raises StoreUnavailable: the store has not been read yet."""
        return [entry for _, entry in sorted(self._loaded().items())]

    def get(self, name: str) -> LabelSet:
        """One label set. Raises UnknownLabelSet; StoreUnavailable: the store has not been read yet."""
        if entry := self._loaded().get(name):
            return entry
        raise _unknown(name)

    async def put(self, request: PutRequest) -> LabelSet:
        """Store a label set, which replaces the one of its name, and build it.

        Returns when the set is built, or after `put_wait_seconds`. The caller's key is charged a row for each
        prompt and example. All checks come before the set is stored. Of two concurrent puts of a name the last
        wins, and both return its state.

        Raises:
            InvalidInput: the set exceeds a limit, a prompt has too many tokens, or an example is not an image.
            UnknownModel, WrongFingerprint: its model is not served.
            RateLimited, StoreUnavailable, BackendUnavailable, BackendFailed: see `clipserve.errors`.
        """
        model, name = self.models.find(request.fields), request.name
        record = await beside_loop(partial(request.record, model.manifest, self.limits), _DEFINITION_BYTES)
        definition = record.definition
        about = {"put": time.time(), "version": definition.version(model.fingerprint)}
        wanted = LabelSet(name, model, record.model_copy(update=about))
        if self._charge:
            await self._charge(definition.prompt_count + sum(map(len, request.examples)))
        await check(model, record)
        async with self._lock:  # so that limits hold
            await self._refresh()
            await self._store(wanted)
        if (entry := self.get(name)).task:
            await asyncio.wait([entry.task], timeout=self.put_wait_seconds)
        return self.get(name)

    async def delete(self, name: str) -> None:
        """Delete a label set, and the file that people wrote. Raises UnknownLabelSet, StoreUnavailable."""
        check_name(name)
        deleted = await self.store.delete([f"{name}.json", f"{name}.toml"])
        await self.refresh()
        embeddings = map(_EMBEDDINGS.fullmatch, self._listing or ())
        await self.store.delete([match[0] for match in embeddings if match and match["name"] == name])
        if not deleted:
            raise _unknown(name)

    async def refresh(self) -> None:
        """Make the served sets and the builds match the store.

        Raises:
            StoreUnavailable: the sets of what cannot be read stay as they are.
        """
        async with self._lock:
            await self._refresh()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(StoreUnavailable):  # the store has said so in the log
                await self.refresh()

    async def _store(self, wanted: LabelSet) -> None:
        sizes = {each.name: each.record.size for each in (*self.entries.values(), wanted)}
        check_limit(TooMany, "there would be {:,} label sets, so delete one", len(sizes), MAX_SETS)
        size = sum(sizes.values())
        check_limit(TooMany, "all would have {:,} bytes, so delete one", size, MAX_SETS_BYTES)
        before = self.entries.get(wanted.name)
        if before and before.served and before.served_version != wanted.version:
            wanted.record = wanted.record.model_copy(update={"previous": before.served.definition})
        await self.store.write(f"{wanted.name}.json", await asyncio.to_thread(wanted.record.to_bytes))
        self._listing = None  # deleted before it was listed, it would stay
        await self.entries.want(wanted, put_here=True)

    async def _refresh(self) -> None:
        listing = await self.store.listing()
        if listing == self._listing:
            return
        self._listing = None
        wanted: dict[str, tuple[str, str]] = {}
        for stamp, file in sorted((stamp, file) for file, stamp in listing.items()):  # the later one counts
            name, _, kind = file.rpartition(".")
            if kind in ("json", "toml") and NAME.fullmatch(name):
                wanted[name] = file, stamp
        for name in {*self.entries, *self._seen} - wanted.keys():
            self._seen.pop(name, None)
            self.entries.drop(name)
        for name, place in wanted.items():
            if place != self._seen.get(name):
                await self._load(name, place[0])
                self._seen[name] = place
        with suppress(StoreUnavailable):  # the next change does it
            await self.store.delete([file for file in listing if self._is_stale(file)])
        self._listing, self.loaded = listing, True

    async def _load(self, name: str, file: str) -> None:
        """Serve or build what the file has. Raises StoreUnavailable."""
        try:
            if (value := await self.store.read(file)) is None:  # it was just deleted
                return
            record = await asyncio.to_thread(self._record_of, file, value)
        except StoreUnavailable:
            raise
        except (ValueError, TypeError, RecursionError, ClipError) as error:  # whoever has written it
            reason = error.detail if isinstance(error, ClipError) else str(error)
            logger.error("label_set_file_wrong", file=file, reason=reason, hint="the set stays as it was")
            return
        if model := self.models.get(record.definition.model):
            await self.entries.want(LabelSet(name, model, record))
        else:
            self.entries.drop(name)
            logger.warning("label_set_without_model", label_set=name, model=record.definition.model)

    def _record_of(self, file: str, value: bytes) -> Record:
        if value.startswith(OURS):
            return Record.model_validate_json(value)
        request = written(file, value)
        return request.record(self.models.find(request.fields).manifest, self.limits)

    def _is_stale(self, file: str) -> bool:
        """Whether it has embeddings of no definition of their set, which is served here."""
        if not (match := _EMBEDDINGS.fullmatch(file)) or not (entry := self.entries.get(match["name"])):
            return False
        kept = (entry.record.definition, entry.record.previous)
        return match["digest"] not in [each.digest for each in kept if each]

    def _failed(self) -> int:
        """How many sets have failed; any thread may ask."""
        return sum(entry.state == "failed" for entry in list(self.entries.values()))

    def _loaded(self) -> Entries:
        if not self.loaded:
            raise StoreUnavailable("label sets could not be read yet. Try again later.")
        return self.entries


def _unknown(name: str) -> UnknownLabelSet:
    return UnknownLabelSet(f"there is no label set {name[:64]!r}: GET /label-sets lists all.")
