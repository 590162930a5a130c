"""What can go wrong for a program that uses CLIP.

ClipserveError
├── ItemFailed                one image or text has no result; it stands among the `errors` of a result
├── Refused                   a call as a whole; `code` says why
│   └── FingerprintChanged      the model makes other vectors than those that are expected
├── Unreachable               no server answers
│   └── BadAddress              there can be none at this address, or no key like this
└── OddAnswer                 what answers is no clipserve
"""

from __future__ import annotations

from typing import ClassVar

from clipserve import errors

# Codes of errors that are an item's own: the next item may be well. Every other one is about the whole call.
OF_IMAGE = frozenset(
    kind.code
    for kind in (
        errors.BodyTooLarge,
        errors.ImageTooLarge,
        errors.UndecodableImage,
        errors.UnsupportedFormat,
    )
)
OF_TEXT = frozenset(
    kind.code for kind in (errors.BodyTooLarge, errors.InvalidInput, errors.TextTooLong, errors.TooMany)
)
UNREADABLE = "unreadable_file"
INVALID_VECTOR = "invalid_vector"  # what a server answered is none of its model
# An item may be at fault, or the encoders: who asks has to find out, with an item that is known to be good.
DOUBTFUL = frozenset({INVALID_VECTOR, errors.BackendFailed.code, errors.ClipError.code})


class ClipserveError(Exception):
    """Root of the tree.

    Attributes:
        detail: one sentence for people.
        code: stable, for programs; docs/errors.md has those of a server.
        request_id: of the request that failed, as the server's log has it; None: there was none.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(self, detail: str, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(detail, code, request_id)
        self.detail = detail
        self.code = code or self.default_code
        self.request_id = request_id

    def __str__(self) -> str:
        return self.detail


class ItemFailed(ClipserveError):
    """One image or text has no result. Those beside it have theirs."""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @property
    def doubtful(self) -> bool:
        """It may be the item's fault, or that of the encoders."""
        return self.code in DOUBTFUL


class Refused(ClipserveError):
    """The whole call has failed: its `code` says why.

    Attributes:
        status: of HTTP; None in this process.
        retry_after: seconds after which it may be asked again; None: nobody has said.
    """

    status: int | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class FingerprintChanged(Refused):
    """The model makes other vectors than those that are expected; they cannot be compared with those."""


class Unreachable(ClipserveError):
    """Nothing answers, or not in time."""

    default_code = "unreachable"


class BadAddress(Unreachable):
    """Nothing can be sent with this address or key."""


class OddAnswer(ClipserveError):
    """It is too long, or none of a clipserve; the message says which server answered, and what is odd."""

    default_code = "odd_answer"


def refusal(code: str, detail: str, request_id: str | None = None) -> Refused:
    """The error of a call."""
    kind = FingerprintChanged if code == errors.WrongFingerprint.code else Refused
    return kind(detail, code, request_id)


def of_item(error: Refused, own: frozenset[str]) -> ItemFailed | Refused:
    """The error of a call about one item. `own`: the codes that are about its item."""
    if error.code in own or error.code in DOUBTFUL:
        return ItemFailed(error.detail, error.code, error.request_id)
    return error
