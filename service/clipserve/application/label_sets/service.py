"""The use cases of label sets, and the look-up of those that a classification uses."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from functools import partial

from clipserve.application.label_sets.build import check
from clipserve.application.label_sets.catalog import Catalog
from clipserve.application.label_sets.request import PutRequest, check_name
from clipserve.application.label_sets.served import LabelSet, ServedSet
from clipserve.concurrency import beside_loop
from clipserve.errors import StoreUnavailable, UnknownLabelSet
from clipserve.telemetry.request import RequestContext, current, remaining

_SHOWN_NAMES = 10
_DEFINITION_BYTES = 1_000_000  # about: a definition may have so many, and more


class LabelSets(Catalog):
    """Puts, shows, deletes and finds label sets, and follows their store."""

    async def find(self, names: Sequence[str]) -> list[ServedSet]:
        """The served label sets of these names. `names`: each a name, or name@version.

        It waits for first builds, and leaves a quarter of the time to the request's deadline.

        Raises:
            UnknownLabelSet: there is no set of this name, or its version is another.
            LabelSetNotReady: the set was not built in time.
            LabelSetFailed: the set cannot be built.
            StoreUnavailable: the store has not been read yet.
        """
        asked = [name.partition("@") for name in names]
        if unserved := [name for name, _, _ in asked if self._entry(name).served is None]:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.own_limits.part_for_build * remaining(math.inf)):
                    for name in unserved:
                        await self.settled(name)
        found = [self._find(name, version) for name, _, version in asked]
        self._used.inc(len(found))
        return found

    def all(self) -> list[LabelSet]:
        """All label sets, by name. Raises StoreUnavailable: the store has not been read yet."""
        self._check_loaded()
        return [copy(entry) for _, entry in sorted(self.entries.items())]

    def get(self, name: str) -> LabelSet:
        """One label set. Raises UnknownLabelSet; StoreUnavailable: the store has not been read yet."""
        return copy(self._entry(name))

    async def put(self, request: PutRequest) -> LabelSet:
        """Store a label set, which replaces the one of its name, and build it.

        Returns when the set is built, or after `put_wait_seconds`. The caller's key pays for the build. All checks
        come before the set is stored. Of two concurrent puts of a name the last wins, and both return its state.

        Raises:
            InvalidInput: the set exceeds a limit, a prompt has too many tokens, or an example is not an image.
            UnknownModel, WrongFingerprint: its model is not served.
            LabelSetReadOnly: the name is that of a file.
            StoreUnavailable, BackendUnavailable, BackendFailed: see `clipserve.errors`.
        """
        model, payer = self.models.find(request.fields), None
        checked = partial(request.record, model.manifest, self.limits, self.own_limits)
        record = await beside_loop(checked, _DEFINITION_BYTES)
        self.check_writable(request.name)
        if isinstance(context := current(), RequestContext):
            context.bulk = True  # requests that somebody waits for come first
            payer = context.digest
        await check(model, record)
        await self._store(request.name, model, record, payer)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.own_limits.put_wait_seconds):
                await self.settled(request.name)
        return self.get(request.name)

    async def delete(self, name: str) -> None:
        """Delete a label set. Raises UnknownLabelSet, LabelSetReadOnly, StoreUnavailable."""
        check_name(name)
        if not await self._delete(name):
            raise self._unknown(name)

    def _find(self, name: str, version: str) -> ServedSet:
        entry = self._entry(name)
        if (served := entry.served) is None:
            raise entry.not_ready()
        if version not in ("", served.version):
            raise UnknownLabelSet(
                f"{name} is at version {served.version}; version {version[:64]} is not served."
            )
        return served

    def _entry(self, name: str) -> LabelSet:
        if entry := self.entries.get(name):
            return entry
        self._check_loaded()
        raise self._unknown(name)

    def _check_loaded(self) -> None:
        if not self.loaded:
            raise StoreUnavailable("label sets could not be read yet. Try again later.")

    def _unknown(self, name: str) -> UnknownLabelSet:
        known = sorted(self.entries)
        shown = ", ".join(known[:_SHOWN_NAMES]) + (", ..." if len(known) > _SHOWN_NAMES else "")
        return UnknownLabelSet(f"there is no label set {name[:64]!r}. There are: {shown or 'none'}.")
