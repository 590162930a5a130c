"""The errors of the Python API.

ClipserveError
├── ItemFailed                one image or text has no result; the result lists it in `errors`
├── Refused                   the whole call failed; `code` says why
│   └── FingerprintChanged      the model's fingerprint is not the expected one
├── Unreachable               no server answers
│   └── BadAddress              the address or the key is malformed
└── OddAnswer                 the answer is not one of clipserve
"""

from __future__ import annotations

from typing import ClassVar

from clipserve import errors

# Codes of errors of one item: the next item may succeed. Every other code is about the whole call.
_OF_BOTH = (errors.BackendFailed, errors.BodyTooLarge, errors.ClipError)
_OF_IMAGE = (*_OF_BOTH, errors.ImageTooLarge, errors.UndecodableImage, errors.UnsupportedFormat)
_OF_TEXT = (*_OF_BOTH, errors.InvalidInput, errors.TextTooLong, errors.TooMany)
OF_IMAGE, OF_TEXT = (frozenset(kind.code for kind in kinds) for kinds in (_OF_IMAGE, _OF_TEXT))
UNREADABLE = "unreadable_file"


class ClipserveError(Exception):
    """Base class of all errors here. `detail`: a sentence for people. `code`: stable; docs/api.md lists a server's.

    `request_id`: of the failed request, as in the server's log; None: no server gave one.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(self, detail: str, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(detail, code, request_id)
        self.detail, self.code, self.request_id = detail, code or self.default_code, request_id

    def __str__(self) -> str:
        return self.detail


class ItemFailed(ClipserveError):
    """One image or text has no result. The other items of the call are not affected."""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Refused(ClipserveError):
    """The whole call failed; `code` says why."""

    status: int | None = None  # of HTTP; None in this process
    retry_after: float | None = None  # seconds to wait before a retry; None: the server did not say

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class FingerprintChanged(Refused):
    """The model's fingerprint is not the expected one: vectors of the two cannot be compared."""


class Unreachable(ClipserveError):
    """No server answered, or not in time."""

    default_code = "unreachable"


class BadAddress(Unreachable):
    """The address or the key is malformed; nothing was sent."""


class OddAnswer(ClipserveError):
    """The answer is not one of clipserve. The message names the server and the reason."""

    default_code = "odd_answer"


def refusal(code: str, detail: str, request_id: str | None = None) -> Refused:
    """The error of a whole call, by its code."""
    kind = FingerprintChanged if code == errors.WrongFingerprint.code else Refused
    return kind(detail, code, request_id)


def of_item(error: Refused, item_codes: frozenset[str]) -> ItemFailed | Refused:
    """The error of a call with one item: `ItemFailed` if its code is in `item_codes`."""
    if error.code in item_codes:
        return ItemFailed(error.detail, error.code, error.request_id)
    return error
