"""The interface of stores for label sets. A store sees rows of bytes; `label_sets.shelf` defines them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger

Kind = Literal["sets", "definitions", "formers", "images", "vectors", "uses"]
Key = tuple[Kind, str]


class Store(Protocol):
    """Rows by kind and name; a value has up to some tens of megabytes.

    All methods raise StoreUnavailable if the store cannot be reached, read or written. A change whose caller is
    cancelled may still be made.
    """

    async def revision(self) -> int:
        """A number that differs after each change by any process. It is read several times a second."""

    async def names(self, kind: Kind) -> list[str]:
        """The names of all rows of this kind."""

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        """The values of these rows, from one snapshot. Missing rows are left out."""

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        """Write rows atomically: a reader, or a start after a crash, finds all of them or none."""

    async def delete(self, keys: Collection[Key]) -> bool:
        """Delete rows atomically. False: there was none of them."""

    async def aclose(self) -> None:
        """Close the connections."""


def revision_step() -> int:
    """The increment of the revision by one change: 1 to 2**31, at random.

    With steps of 1, a store that was emptied or restored from a copy would repeat revisions that stood for other
    rows. The revision stays below 2**63 for at least four billion changes.
    """
    return secrets.randbelow(2**31) + 1


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first of each kind.

    A kind is logged again only after a call has succeeded: a store is read several times a second, and may be down
    for hours. So calls that can fail while others succeed, such as changes on a full disk, need a separate object.
    """

    def __init__(self, kinds: tuple[type[Exception], ...], advice: Callable[[Exception], str]) -> None:
        """`kinds`: the errors to translate. `advice`: what to do about one, for people who cannot see the log."""
        self._kinds = kinds
        self._advice = advice
        self._logged: set[tuple[str, str]] = set()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Wrap one call of the store in this block."""
        try:
            yield
        except self._kinds as error:
            detail = self._advice(error)
            kind = (type(error).__name__, detail)
            if kind not in self._logged:
                self._logged.add(kind)
                logger.warning("label_set_store_failed", error=kind[0], reason=str(error)[:500], hint=detail)
            error.__traceback__ = error.__context__ = None  # their frames hold what was to be written
            raise StoreUnavailable(detail) from None
        if self._logged:
            self._logged.clear()
            logger.info("label_set_store_back")
