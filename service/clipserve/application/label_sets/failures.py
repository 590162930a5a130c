"""Failures of a store: what the caller is told, and what is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clipserve.errors import StoreUnavailable
from clipserve.telemetry.log import logger


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first of each kind.

    A kind is logged again when a call has succeeded in between: a store is asked twice a second, and may be away
    for hours. So calls that can fail while others succeed, as changes on a full disk, have an object of their own.
    """

    def __init__(self, kinds: tuple[type[Exception], ...], advice: Callable[[Exception], str]) -> None:
        """`kinds`: the errors that are meant. `advice`: what to do about one, for people who cannot see the log."""
        self._kinds = kinds
        self._advice = advice
        self._logged: set[tuple[str, ...]] = set()

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
            raise StoreUnavailable(detail) from None
        if self._logged:
            self._logged.clear()
            logger.info("label_set_store_back")
