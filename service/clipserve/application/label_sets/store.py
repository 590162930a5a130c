"""The interface of stores for label sets. A store sees rows of bytes; `label_sets.shelf` defines them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger

Kind = Literal["sets", "vectors"]


class Store(Protocol):
    """Rows by kind and name: a head, which is one short line, and a body of up to some tens of megabytes.

    A name has letters, digits, dots, hyphens and underscores, and begins with a letter or a digit. All methods
    raise StoreUnavailable if the store cannot be reached, read or written. A change whose caller is cancelled may
    still be made.
    """

    async def revision(self) -> str:
        """A text that is another after each change of `sets` by any process. It is read several times a second."""

    async def heads(self, kind: Kind) -> dict[str, bytes]:
        """The heads of all rows of this kind, by name."""

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        """The bodies of these rows. Missing rows are left out."""

    async def put(self, kind: Kind, name: str, head: bytes, body: bytes = b"") -> None:
        """Write a row atomically: a reader, or a start after a crash, finds the former row or this one."""

    async def delete(self, kind: Kind, names: Collection[str]) -> bool:
        """Delete rows. False: there was none of them."""

    async def aclose(self) -> None:
        """Close the connections."""


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first of each kind.

    A kind is logged again only after a call has succeeded: a store is read several times a second, and may be down
    for hours. So calls that can fail while others succeed, such as changes on a full disk, need a separate object.
    """

    def __init__(self, kind: type[Exception], advice: str) -> None:
        """`kind`: of the errors to translate. `advice`: what to do, for people who cannot see the log."""
        self._kind = kind
        self._advice = advice
        self._logged: set[str] = set()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Wrap one call of the store in this block."""
        try:
            yield
        except self._kind as error:
            kind = type(error).__name__
            if kind not in self._logged:
                self._logged.add(kind)
                logger.warning(
                    "label_set_store_failed", error=kind, reason=str(error)[:500], hint=self._advice
                )
            error.__traceback__ = error.__context__ = None  # their frames hold what was to be written
            raise StoreUnavailable(self._advice) from None
        if self._logged:
            self._logged.clear()
            logger.info("label_set_store_back")
