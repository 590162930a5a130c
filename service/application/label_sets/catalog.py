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
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, get_args

from service.application.label_sets.building import Building, TakenOver, Wanted
from service.application.label_sets.definition import Definition, version_of
from service.application.label_sets.folder import Folder
from service.application.label_sets.memory_store import MemoryStore
from service.application.label_sets.records import Build, Pointer, Weights
from service.application.label_sets.served_set import ServedSet, served_set
from service.application.label_sets.store import Store
from service.application.label_sets.tidying import tidy
from service.application.models import Models
from service.application.served_model import ServedModel
from service.errors import ClipError, InvalidInput, StoreUnavailable
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics
from service.telemetry.request import RequestContext, task_context

State = Literal["ready", "building", "failed"]
STATES: tuple[State, ...] = get_args(State)

_POLL_SECONDS = 0.25
_AGAIN_SECONDS = 2.0  # after a build that may succeed later, and to see whether another gateway still builds


@dataclass
class Entry:
    """One label set here.

    Attributes:
        served: what requests get; None: nothing yet.
        prompts, done: of `version`, to be encoded and encoded.
        error: why it is not built, so far.
        final: trying again would change nothing.
    """

    wanted: Wanted
    model: ServedModel
    version: str
    served: ServedSet | None = None
    done: int = 0
    error: ClipError | None = None
    final: bool = False
    began: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    prompts: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = self.wanted.definition.prompt_count()  # once: it looks at each label

    @property
    def ready(self) -> bool:
        return self.served is not None and self.served.version == self.version

    @property
    def state(self) -> State:
        if self.ready:
            return "ready"
        return "failed" if self.error else "building"

    @property
    def read_only(self) -> bool:
        return self.wanted.images is not None


class Catalog:
    """See the module. `entries`: by name. `loaded`: whether the store has been read once."""

    def __init__(self, models: Models, store: Store, folder: Folder | None, metrics: Metrics) -> None:
        self.entries: dict[str, Entry] = {}
        self.loaded = False
        self._models = models
        self._store = store
        self._folder = folder
        self._metrics = metrics
        self._owner = uuid.uuid4().hex
        self._revision: int | None = None
        self._lock = asyncio.Lock()
        self._building = asyncio.Lock()  # one at a time: they give way to requests, not to each other
        self._changed = asyncio.Event()
        self._lost = False
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is there, and follow it from now on."""
        try:
            await self.refresh()
        except StoreUnavailable as error:
            self._say_lost(error)
        self._following = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """End that, and all builds."""
        if self._following:
            self._following.cancel()
        for name in list(self.entries):
            self._drop(name)

    async def _follow(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            unfinished = not all(entry.ready or entry.final for entry in self.entries.values())
            due = unfinished and time.monotonic() - last > _AGAIN_SECONDS
            try:
                changed = await self._store.revision() != self._revision
                if (self._folder and await self._folder.changed()) or changed or due:
                    last = time.monotonic()
                    await self.refresh()
                self._lost = False
            except StoreUnavailable as error:
                self._say_lost(error)

    async def refresh(self) -> None:
        """Make what is served, or on its way, what it should be.

        Raises:
            StoreUnavailable: sets of the store stay as they are.
        """
        async with self._lock:
            wanted = await self._folder.read(self._models) if self._folder else {}
            try:
                revision = await self._store.revision()
                pointers = {
                    name: Pointer.from_bytes(row) for name, row in (await self._store.rows("sets")).items()
                }
            except StoreUnavailable:
                for each in wanted.values():
                    await self._want(each, None)
                raise
            for name in self.entries.keys() - wanted.keys() - pointers.keys():
                self._drop(name)
            for each in wanted.values():
                await self._want(each, None)
            for name, pointer in pointers.items():
                if name not in wanted and not self._settled(name, pointer.digest):
                    await self._load(name, pointer)
            self._revision, self.loaded = revision, True
            self._note()

    async def changed(self) -> None:
        """Until something has."""
        await self._changed.wait()

    def _settled(self, name: str, digest: str) -> bool:
        """Whether there is nothing to do for this definition, or it is being done."""
        entry = self.entries.get(name)
        if entry is None or entry.wanted.digest != digest:
            return False
        return entry.ready or entry.final or entry.task is not None

    async def _load(self, name: str, pointer: Pointer) -> None:
        stored = await self._store.get(("definitions", f"{name}/{pointer.digest}"))
        if stored is not None:  # else it has just been replaced, and the revision says so
            definition = await asyncio.to_thread(Definition.from_bytes, stored)
            await self._want(Wanted(name, pointer.digest, definition), pointer.previous)

    async def _want(self, wanted: Wanted, previous: str | None) -> None:
        if self._settled(wanted.name, wanted.digest):
            return
        model = self._models.get(wanted.definition.model)
        if model is None:
            logger.warning("label_set_without_model", label_set=wanted.name, model=wanted.definition.model)
            self._drop(wanted.name)
            return
        entry = self._entry(wanted, model)
        try:
            await self._take_stored(entry, previous)
        except StoreUnavailable:
            if not entry.read_only:
                raise
            self._start(entry)

    def _entry(self, wanted: Wanted, model: ServedModel) -> Entry:
        version = wanted.version(model.fingerprint)
        former = self.entries.get(wanted.name)
        if former is not None and former.version == version:
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
            entry.served = await self._stored(entry, entry.wanted.digest, entry.wanted.definition)
        if entry.ready:
            entry.error = None
            return
        if entry.served is None and previous is not None:
            former = await self._store.get(("definitions", f"{name}/{previous}"))
            if former is not None:
                entry.served = await self._stored(entry, previous, Definition.from_bytes(former))
        if build and build.owner != self._owner and build.until > time.time():
            entry.done = build.done
        else:
            self._start(entry)

    async def _stored(self, entry: Entry, digest: str, definition: Definition) -> ServedSet | None:
        version = version_of(digest, entry.model.fingerprint)
        stored = await self._store.get(("weights", f"{entry.wanted.name}/{version}"))
        if stored is None or definition.model != entry.model.name:
            return None
        return await asyncio.to_thread(_served, entry, digest, definition, stored)

    def _start(self, entry: Entry) -> None:
        context = task_context(RequestContext(f"label-set-{entry.version}", bulk=True))
        entry.task = asyncio.create_task(self._build(entry), context=context)

    async def _build(self, entry: Entry) -> None:
        name = entry.wanted.name
        try:
            async with self._building:
                entry.began = time.monotonic()
                weights = await self._built(entry)
                seconds = time.monotonic() - entry.began
            entry.served = await asyncio.to_thread(_served_set, entry, weights)
            entry.error = None
            logger.info("label_set_built", label_set=name, version=entry.version, seconds=round(seconds, 2))
            self._metrics.label_set_built("ok", seconds)
        except TakenOver:
            pass
        except ClipError as error:
            entry.error, entry.final = error.with_traceback(None), isinstance(error, InvalidInput)
            logger.warning("label_set_not_built", label_set=name, version=entry.version, reason=error.detail)
            self._metrics.label_set_built(error.code, time.monotonic() - entry.began)
        finally:
            entry.task = None
            self._note()
        if entry.ready:
            with suppress(StoreUnavailable):  # what is left is found the next time
                await tidy(self._store, name)

    async def _built(self, entry: Entry) -> Weights:
        def progress(done: int) -> None:
            entry.done = done

        arguments = entry.wanted, entry.model
        try:
            return await Building(*arguments, self._store, self._owner, progress).run()
        except StoreUnavailable:
            if not entry.read_only:
                raise
        # A file is here again at the next start; its embeddings are not.
        return await Building(*arguments, MemoryStore(), self._owner, progress).run()

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
        self._metrics.label_sets({state: states.count(state) for state in STATES})

    def _say_lost(self, error: StoreUnavailable) -> None:
        if not self._lost:
            self._lost = True
            logger.warning("label_set_store_lost", reason=error.detail)


def _served(entry: Entry, digest: str, definition: Definition, stored: bytes) -> ServedSet:
    weights = Weights.from_bytes(stored)
    model = entry.model
    return served_set(
        entry.wanted.name, digest, model.fingerprint, definition, weights, model.manifest.scoring
    )


def _served_set(entry: Entry, weights: Weights) -> ServedSet:
    wanted, model = entry.wanted, entry.model
    return served_set(
        wanted.name, wanted.digest, model.fingerprint, wanted.definition, weights, model.manifest.scoring
    )
