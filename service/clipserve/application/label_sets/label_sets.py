"""The use cases of label sets, and the label sets that a classification uses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from clipserve.application.label_sets.catalog import Catalog
from clipserve.application.label_sets.definition import Definition, digest_of
from clipserve.application.label_sets.encoding import check_examples, check_prompts
from clipserve.application.label_sets.entry import Entry, State
from clipserve.application.label_sets.request import LabelSetLimits, PutRequest, check_name
from clipserve.application.label_sets.served_set import ServedSet
from clipserve.application.label_sets.store import Store
from clipserve.application.label_sets.writing import Draft, forget, keep
from clipserve.application.limits import RequestLimits
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.clip.few_shot import LeaveOneOut
from clipserve.concurrency import SideThread
from clipserve.errors import LabelSetReadOnly, StoreUnavailable, UnknownLabelSet
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, current

_WAIT_SECONDS = 2.0  # what a PUT waits for a build before it answers that it has begun
_SHOWN_NAMES = 10


@dataclass(frozen=True)
class LabelSetState:
    """A label set as it is described.

    Attributes:
        version: that of `definition`.
        served_version: what requests get, which is an older one while the set is built; None: nothing yet.
        prompts, prompts_done: to be encoded, and encoded.
        error: why it is not built.
        read_only: it comes from a file.
        truncated_labels, loo: once `version` is built.
        retry_after: seconds until then, as far as progress tells.
    """

    name: str
    version: str
    fingerprint: str
    state: State
    served_version: str | None
    definition: Definition
    prompts: int
    prompts_done: int
    error: str | None
    read_only: bool
    truncated_labels: tuple[str, ...]
    loo: LeaveOneOut | None
    retry_after: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the definition, for people."""
        return _warnings(self.definition)


class LabelSets:
    """Puts, shows, deletes and finds them. `started`: what was stored has been loaded, or could not be."""

    def __init__(
        self,
        models: Models,
        catalog: Catalog,
        store: Store,
        side: SideThread,
        limits: RequestLimits,
        own_limits: LabelSetLimits,
        metrics: Metrics,
    ) -> None:
        self._models = models
        self._catalog = catalog
        self._store = store
        self._side = side
        self._limits = limits
        self._own_limits = own_limits
        self._metrics = metrics
        self.started = False

    async def start(self) -> None:
        """Load what is stored; to be called when the models have started.

        Without its store, the service starts too.
        """
        await self._catalog.start()
        self.started = True

    async def aclose(self) -> None:
        """End what `start` began."""
        await self._catalog.aclose()
        await self._store.aclose()

    def find(self, names: Sequence[str]) -> list[ServedSet]:
        """Each as it is served now. `names`: each a name, or name@version.

        Raises:
            UnknownLabelSet: there is none of this name, or its version is another.
            LabelSetNotReady: it is not built yet.
            LabelSetFailed: it cannot be built.
            StoreUnavailable: the store has not been read yet.
        """
        found = [self._find(*each.partition("@")[::2]) for each in names]
        self._metrics.label_sets.used(len(found))
        return found

    def all(self) -> list[LabelSetState]:
        """All label sets, by name. Raises StoreUnavailable: the store has not been read yet."""
        self._check_loaded()
        return [_state(entry) for _, entry in sorted(self._catalog.entries.items())]

    def get(self, name: str) -> LabelSetState:
        """One label set. Raises UnknownLabelSet; StoreUnavailable: the store has not been read yet."""
        return _state(self._entry(name))

    async def put(self, request: PutRequest) -> LabelSetState:
        """Keep a label set, in place of the one of its name, and build it.

        It answers when the set is built, or after two seconds. The caller's key pays for the build. What a set
        cannot be made of is found before anything is kept. Of two at the same time, the last is kept; both get the
        state that is then.

        Raises:
            InvalidInput: it is over a limit, a prompt has too many tokens, an example is no image.
            UnknownModel, WrongFingerprint: its model is not served.
            LabelSetReadOnly: the name is that of a file.
            StoreUnavailable, BackendUnavailable, BackendFailed: see `clipserve.errors`.
        """
        model = self._models.find(request)
        definition, images = await self._side.call(self._checked, request, model, short=False)
        self._check_writable(request.name)
        payer = None
        if isinstance(context := current(), RequestContext):
            context.bulk = True  # requests that somebody waits for come first
            payer = context.digest
        await check_prompts(model, definition)
        await check_examples(model, definition, images)
        stored, digest = await self._side.call(_named, definition, short=False)
        vectors_size = 4 * model.manifest.embed_dim * definition.vector_count
        draft = Draft(request.name, model.fingerprint, stored, digest, images, vectors_size, payer)
        await keep(self._store, draft, self._own_limits)
        await self._catalog.refresh()
        await self._settled(request.name)
        return self.get(request.name)

    async def delete(self, name: str) -> None:
        """Forget a label set. Raises UnknownLabelSet, LabelSetReadOnly, StoreUnavailable."""
        check_name(name)
        self._check_writable(name)
        if not await forget(self._store, name):
            raise self._unknown(name)
        await self._catalog.refresh()

    def _checked(self, request: PutRequest, model: ServedModel) -> tuple[Definition, dict[str, bytes]]:
        request.check(self._limits, self._own_limits)
        return request.resolved(model.manifest, self._limits, self._own_limits)

    def _check_writable(self, name: str) -> None:
        entry = self._catalog.entries.get(name)
        if entry and entry.read_only:
            raise LabelSetReadOnly(f"{name} comes from a file; change the file, or choose another name.")

    async def _settled(self, name: str) -> None:
        """Until it is built, or two seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_SECONDS):
                while (entry := self._catalog.entries.get(name)) and entry.state == "building":
                    await self._catalog.changed()

    def _find(self, name: str, version: str) -> ServedSet:
        entry = self._entry(name)
        served = entry.served
        if served is None:
            raise entry.not_ready()
        if version and version != served.version:
            raise UnknownLabelSet(
                f"{name} is at version {served.version}; version {version[:64]} is not served."
            )
        return served

    def _entry(self, name: str) -> Entry:
        entry = self._catalog.entries.get(name)
        if entry is None:
            self._check_loaded()
            raise self._unknown(name)
        return entry

    def _check_loaded(self) -> None:
        if not self._catalog.loaded:
            raise StoreUnavailable("label sets could not be read yet. Try again later.")

    def _unknown(self, name: str) -> UnknownLabelSet:
        known = sorted(self._catalog.entries)
        shown = ", ".join(known[:_SHOWN_NAMES]) + (", ..." if len(known) > _SHOWN_NAMES else "")
        return UnknownLabelSet(f"there is no label set {name[:64]!r}. There are: {shown or 'none'}.")


def _named(definition: Definition) -> tuple[bytes, str]:
    stored = definition.to_bytes()
    return stored, digest_of(stored)


def _state(entry: Entry) -> LabelSetState:
    served = entry.served
    built = served if entry.ready else None  # what a former version has, is not of this definition
    return LabelSetState(
        name=entry.wanted.name,
        version=entry.version,
        fingerprint=entry.model.fingerprint,
        state=entry.state,
        served_version=served.version if served else None,
        definition=entry.wanted.definition,
        prompts=entry.prompts,
        prompts_done=entry.prompts if entry.ready else entry.done,
        error=entry.error.detail if entry.error else None,
        read_only=entry.read_only,
        truncated_labels=built.truncated if built else (),
        loo=built.loo if built else None,
        retry_after=entry.retry_after,
    )


def _warnings(definition: Definition) -> tuple[str, ...]:
    with_examples = sum(bool(each.examples) for each in definition.labels)
    if definition.example_weight and 0 < with_examples < len(definition.labels):
        return (
            f"{with_examples} of {len(definition.labels)} labels have examples. An image is more alike to images "
            "than to texts, so that these labels have higher scores: give examples to all, or to none.",
        )
    return ()
