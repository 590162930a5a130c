"""Where label sets are kept: rows of bytes, which `label_sets.records` gives a meaning.

All rows but a set's pointer are named by what they are made of, and so nobody can write a wrong one. A store needs
no more than to write some rows at once, and to delete only if nothing has changed since that was decided.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger

Kind = Literal["sets", "definitions", "images", "builds", "weights"]
Key = tuple[Kind, str]


class Store(Protocol):
    """Rows by kind and name; a value has up to some tens of megabytes.

    All methods raise StoreUnavailable if the store cannot be reached, read or written. A change whose caller is
    cancelled may still be made.
    """

    async def revision(self) -> int:
        """A number that is another one after each change, by whichever process. Asked several times a second."""

    async def names(self, kind: Kind) -> list[str]:
        """The names of all rows of this kind."""

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        """The values of these rows, of one moment; those that are not there are left out."""

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        """Write them in one step: a reader, or a start after a crash, finds all of them or none."""

    async def delete(self, keys: Collection[Key], revision: int) -> bool:
        """Delete them in one step. False: the revision is not this one any more, and nothing is deleted."""

    async def aclose(self) -> None:
        """Give back connections."""


def revision_step() -> int:
    """What a change adds to the revision: 1 to 2**31, at random.

    With steps of 1, a store that was emptied, or put back from a copy, would come to numbers again that stood for
    other rows. The revision stays below 2**63 for four billion changes at least.
    """
    return secrets.randbelow(2**31) + 1


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first of each kind.

    A kind is logged again when a call has succeeded in between: a store is asked twice a second, and may be away
    for hours. So calls that can fail while others succeed, as changes on a full disk, have an object of their own.
    """

    def __init__(self, kinds: tuple[type[Exception], ...], advice: Callable[[Exception], str]) -> None:
        """`kinds`: the errors that are meant. `advice`: what to do about one, for people who cannot see the log."""
        self._kinds = kinds
        self._advice = advice
        self._logged: set[tuple[str, str]] = set()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Around one call of the store."""
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
