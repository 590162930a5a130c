"""All errors that the network APIs render.

    ClipError
    ├── InvalidInput              the caller can correct it
    │   ├── UndecodableImage        the bytes are not the image they claim to be
    │   │   └── ImageNotFetched       the URL of an image cannot be fetched, or may not
    │   ├── UnsupportedFormat       an image format that is unknown or off
    │   ├── UnsupportedMediaType    a content type that the API does not read
    │   ├── ImageTooLarge           pixels, sides, scans, metadata, memory or time over the limit
    │   ├── TextTooLong             more characters or tokens than the limit
    │   ├── TooMany                 more images, pixels, texts, labels or templates than the limit
    │   ├── BadPromptTemplate       an unknown template set; a template twice, without a slot, or with too many
    │   ├── MisdirectedRequest      a request for a host that is not this service
    │   ├── MalformedRequest        bytes that are no request of the protocol
    │   ├── HeadersTooLarge         more bytes or fields before or after the body than the limit
    │   ├── BodyTooLarge            more bytes in the body, or in a gRPC message besides its images, than the limit
    │   └── BodyTooSlow             the request body did not arrive in time
    ├── UnknownModel              no such model is served
    ├── UnknownTemplateSet        no such template set
    ├── UnknownLabelSet           no such label set, or not in this version
    ├── LabelSetNotReady          the label set is still being built; carries `retry_after`
    ├── LabelSetFailed            the label set cannot be built until it is put again
    ├── StoreUnavailable          label sets cannot be read or changed now
    ├── WrongFingerprint          the model's fingerprint is not the one that the caller expects
    ├── Unauthenticated           no key, or an unknown one
    ├── PermissionDenied          the key lacks the scope
    ├── TooManyConnections        the limit of connections is reached
    ├── Overloaded                the work queued now does not fit in the deadline; carries `retry_after`
    │   └── RateLimited             the key has used up its rate; carries `retry_after` too
    ├── DeadlineExceeded          the answer was not ready in time
    ├── BackendUnavailable        the encoders are not ready, or cannot be reached; carries `retry_after`
    └── BackendFailed             the encoders returned an error, or invalid vectors

An error says what was wrong, and has the limit and the actual value if they apply. It has no status code: only the
table of each API translates errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, Self, TypeVar

T = TypeVar("T")

_MOST_CHARS = 2_000  # of a detail: text of a request that it repeats may have any length
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class ClipError(Exception):
    """Root of the tree. `code` is stable: clients may branch on it.

    Attributes:
        detail: one sentence for the caller; no paths, no text of other exceptions.
        limit: the limit that was exceeded, in the unit that `detail` names.
        actual: the value that exceeded it, in the same unit; None if no API can write it, such as 1e400.
        index: the position in the request of the image, text or label that the error is about.
        retry_after: seconds until a retry may succeed; None: unknown.
    """

    code: ClassVar[str] = "internal_error"
    retry_after: float | None = None

    def __init__(
        self,
        detail: str,
        *,
        limit: float | None = None,
        actual: float | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = _text(detail)
        self.limit = _number(limit)
        self.actual = _number(actual)
        self.index = index

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
    code = "invalid_input"


class UndecodableImage(InvalidInput):
    code = "undecodable_image"


class ImageNotFetched(UndecodableImage):
    code = "image_not_fetched"


class UnsupportedFormat(InvalidInput):
    code = "unsupported_format"


class UnsupportedMediaType(InvalidInput):
    code = "unsupported_media_type"


class ImageTooLarge(InvalidInput):
    code = "image_too_large"


class TextTooLong(InvalidInput):
    code = "text_too_long"


class TooMany(InvalidInput):
    code = "too_many"


class BadPromptTemplate(InvalidInput):
    code = "bad_prompt_template"


class MisdirectedRequest(InvalidInput):
    code = "misdirected_request"


class MalformedRequest(InvalidInput):
    code = "malformed_request"


class HeadersTooLarge(InvalidInput):
    code = "headers_too_large"


class BodyTooLarge(InvalidInput):
    code = "body_too_large"


class BodyTooSlow(InvalidInput):
    code = "body_too_slow"


class UnknownModel(ClipError):
    code = "unknown_model"


class UnknownTemplateSet(ClipError):
    code = "unknown_template_set"


class UnknownLabelSet(ClipError):
    code = "unknown_label_set"


class LabelSetNotReady(ClipError):
    code = "label_set_not_ready"
    retry_after: float

    def __init__(self, detail: str, *, retry_after: float) -> None:
        """`retry_after`: expected seconds until it is built."""
        super().__init__(detail)
        self.retry_after = retry_after


class LabelSetFailed(ClipError):
    code = "label_set_failed"


class StoreUnavailable(ClipError):
    code = "store_unavailable"


class WrongFingerprint(ClipError):
    code = "wrong_fingerprint"


class Unauthenticated(ClipError):
    code = "unauthenticated"


class PermissionDenied(ClipError):
    code = "permission_denied"


class TooManyConnections(ClipError):
    code = "too_many_connections"


class Overloaded(ClipError):
    code = "overloaded"
    retry_after: float

    def __init__(self, detail: str, *, retry_after: float) -> None:
        """`retry_after`: seconds until the work fits, as estimated from measurements."""
        super().__init__(detail)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    code = "rate_limited"


class DeadlineExceeded(ClipError):
    code = "deadline_exceeded"


class BackendUnavailable(ClipError):
    code = "backend_unavailable"
    retry_after = 1.0  # it may be back by then; a process that ends is replaced


class BackendFailed(ClipError):
    code = "backend_failed"


def kinds(kind: type[ClipError] = ClipError) -> list[type[ClipError]]:
    """All error classes, in the order of the source."""
    return [kind, *(each for child in kind.__subclasses__() for each in kinds(child))]


# Codes of refusals: neither the request nor the service is at fault, and a retry may succeed.
REFUSALS = frozenset(kind.code for kind in (TooManyConnections, Overloaded, RateLimited, LabelSetNotReady))
# Codes of failures: the request was valid, and the service could not answer it.
FAILURES = frozenset(
    kind.code for kind in (ClipError, StoreUnavailable, DeadlineExceeded, BackendUnavailable, BackendFailed)
)
