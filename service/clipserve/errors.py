"""All errors that the network APIs render.

An error says what was wrong, and has the limit and the actual value if they apply. It has no status code: only the
table of each API translates errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, Self, TypeVar

T = TypeVar("T")

_MOST_CHARS = 2_000  # of a detail: text of a request that it repeats may have any length
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class ClipError(Exception):
    """A fault of the service; its log has the traceback, under the request id. The root of all others.

    Attributes:
        code: the name of the class in snake case; stable, because clients may branch on it.
        detail: one sentence for the caller; no paths, no text of other exceptions.
        limit: the limit that was exceeded, in the unit that `detail` names.
        actual: the value that exceeded it, in the same unit; None if no API can write it, such as 1e400.
        index: the position in the request of the image, text or label that the error is about.
        retry_after: seconds until a retry may succeed; None: unknown.
    """

    code: ClassVar[str] = "internal_error"
    retry_after: float | None = None

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self,
        detail: str,
        *,
        limit: float | None = None,
        actual: float | None = None,
        index: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = _text(detail)
        self.limit = _number(limit)
        self.actual = _number(actual)
        self.index = index
        if retry_after is not None:
            self.retry_after = retry_after

    @property
    def figures(self) -> dict[str, float]:
        """`limit`, `actual` and `index`, without those that are None."""
        figures = {"limit": self.limit, "actual": self.actual, "index": self.index}
        return {name: figure for name, figure in figures.items() if figure is not None}

    def at(self, index: int | None, what: str = "") -> Self:
        """A copy with this position, because requests that share work share its error. `what` begins its detail."""
        detail = what + self.detail
        placed = self.__class__.__new__(self.__class__, detail)
        placed.__dict__.update(self.__dict__, index=index, detail=detail)
        return placed


def of_nearest(kind: type[ClipError], table: Mapping[type[ClipError], T], default: T) -> T:
    """The table's value for this class, or for its nearest ancestor."""
    return next((table[ancestor] for ancestor in kind.__mro__ if ancestor in table), default)


def check_limit(kind: type[ClipError], message: str, actual: float, limit: float) -> None:
    """Check a limit. `message`: what has so many, with `{:,}` in place of `actual`.

    Raises:
        ClipError: of this kind; `actual` is more than `limit`.
    """
    if actual > limit:
        raise kind(f"{message.format(actual)}; the limit is {limit:,.15g}.", limit=limit, actual=actual)


def _text(detail: str) -> str:
    """A text that every API can write: without lone surrogates, and not too long."""
    if len(detail) > _MOST_CHARS:
        detail = detail[:_MOST_CHARS] + "..."
    return detail.encode("utf-8", "replace").decode()


def _number(value: float | None) -> float | None:
    """A number that every API can write: a 64-bit integer or a finite float; else None."""
    if value is None or (isinstance(value, int) and _SMALLEST <= value <= _LARGEST):
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


class InvalidInput(ClipError):
    """The caller can correct it."""


class UndecodableImage(InvalidInput):
    """The bytes are not the image they claim to be."""


class ImageNotFetched(UndecodableImage):
    """The URL of an image cannot be fetched, or may not."""


class UnsupportedFormat(InvalidInput):
    """An image format that is unknown or off."""


class UnsupportedMediaType(InvalidInput):
    """A content type that the API does not read."""


class ImageTooLarge(InvalidInput):
    """Pixels, sides, scans, metadata, memory or time over the limit."""


class TextTooLong(InvalidInput):
    """More characters or tokens than the limit."""


class TooMany(InvalidInput):
    """More images, pixels, texts, labels or templates than the limit."""


class BadPromptTemplate(InvalidInput):
    """An unknown template set; a template twice, without a slot, or with too many."""


class MisdirectedRequest(InvalidInput):
    """A request for a host that is not this service."""


class MalformedRequest(InvalidInput):
    """Bytes that are no request of the protocol."""


class HeadersTooLarge(InvalidInput):
    """More bytes or fields before or after the body than the limit."""


class BodyTooLarge(InvalidInput):
    """More bytes in the body, or in a gRPC message besides its images, than the limit."""


class BodyTooSlow(InvalidInput):
    """The request body did not arrive in time."""


class UnknownModel(ClipError):
    """No such model is served."""


class UnknownTemplateSet(ClipError):
    """No such template set."""


class UnknownLabelSet(ClipError):
    """No such label set."""


class LabelSetNotReady(ClipError):
    """The label set is still being built; carries `retry_after`."""

    retry_after: float = 1.0


class LabelSetFailed(ClipError):
    """The label set cannot be built until it is put again."""


class StoreUnavailable(ClipError):
    """Label sets cannot be read or changed now."""


class WrongFingerprint(ClipError):
    """The model's fingerprint is not the one that the caller expects."""


class Unauthenticated(ClipError):
    """No key, or an unknown one."""


class PermissionDenied(ClipError):
    """The key lacks the scope."""


class TooManyConnections(ClipError):
    """The limit of connections is reached."""


class Overloaded(ClipError):
    """The work queued now does not fit in the deadline; carries `retry_after`."""

    retry_after: float = 1.0


class RateLimited(Overloaded):
    """The key has used up its rate; carries `retry_after` too."""


class DeadlineExceeded(ClipError):
    """The answer was not ready in time."""


class BackendUnavailable(ClipError):
    """The encoders are not ready, or cannot be reached; carries `retry_after`."""

    retry_after = 1.0  # it may be back by then; a process that ends is replaced


class BackendFailed(ClipError):
    """The encoders returned an error, or invalid vectors."""


def kinds(kind: type[ClipError] = ClipError) -> list[type[ClipError]]:
    """All error classes, in the order of the source."""
    return [kind, *(each for child in kind.__subclasses__() for each in kinds(child))]


# Codes of refusals: neither the request nor the service is at fault, and a retry may succeed.
REFUSALS = frozenset(kind.code for kind in (TooManyConnections, Overloaded, RateLimited, LabelSetNotReady))
# Codes of failures: the request was valid, and the service could not answer it.
FAILURES = frozenset(
    kind.code for kind in (ClipError, StoreUnavailable, DeadlineExceeded, BackendUnavailable, BackendFailed)
)
