"""What an attack is: pieces that go onto a connection, and what may come back."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from loadtests.bodies import photo

# Kinds of many attacks that are each a matter of milliseconds.
_QUICK = frozenset(
    (
        "syntax of HTTP",
        "base64",
        "forms",
        "JSON",
        "labels and templates",
        "Exif",
        "similarity",
        "label sets",
        "gRPC",
        "health and reflection",
    )
)


class Act(enum.Enum):
    """What a client does besides sending and waiting."""

    RESET = "close without a goodbye"
    HALF_CLOSE = "say that nothing more will be sent"
    AWAIT = "wait for one answer more"
    DEAF = "read nothing from here on"


# Bytes to send, seconds to wait, an act, or what is done elsewhere meanwhile.
Piece = bytes | float | Act | Callable[[], None]


@dataclass(frozen=True)
class Attack:
    """One bad input of a kind.

    Attributes:
        kind: the row of the table that it belongs to.
        make: the pieces, the same at each call.
        legal: 200 is a right answer too: nothing is wrong with it but its cost.
        silent: no answer is right too: the request never ends, or is none.
        patience: seconds after which the client gives up.
        labels: its like is a good request of 1,000 labels, which costs seconds, and not a photo of as many bytes.
        answers: how many there may be, so that a player knows when to end.
        requests: it costs what so many cost, because each may be served, or one has the rows of many; at least one
            for each answer.
        bodiless: the answers have no bodies (HEAD).
        rpc: it goes to the gRPC port.
        slow: it takes seconds by its nature, or megabytes.
        keyed: it goes to a victim that asks for keys.
        nightly: others together have all that it is made of.
        loops: so many connections of one address repeat it, on a route of `tests.abuse.loops`, while another asks.
        concurrent: its requests are served at the same time, and each decoder has an image of its own.
    """

    kind: str
    name: str
    make: Callable[[], Iterable[Piece]] = field(repr=False)
    legal: bool = False
    silent: bool = False
    patience: float = 100.0
    labels: bool = False
    answers: int = 1
    requests: int = 1
    bodiless: bool = False
    rpc: bool = False
    slow: bool = False
    keyed: bool = False
    nightly: bool = False
    concurrent: bool = False
    loops: tuple[int, str] | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}: {self.name}"

    @property
    def quick(self) -> bool:
        """It takes a moment: one for the fast tests."""
        return not self.slow and self.kind in _QUICK


def request(
    path: str,
    body: bytes = b"",
    content_type: str = "application/json",
    *more: str,
    method: str = "POST",
) -> bytes:
    """One request as it goes over the wire. `more`: lines of the header."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: a",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1") + body


@functools.cache
def good(width: int = 640, height: int = 480) -> bytes:
    """A request that any client may send: a photo and two labels."""
    return request("/classify?labels=rocket&labels=cat", photo(width, height), "image/jpeg")


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    """The header of a request with these lines and a Host, to its empty line."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


GET = head("/livez", method="GET")


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """A part of a form."""
    file = f'; filename="{filename}"' if filename else ""
    line = f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return line.encode() + value + b"\r\n"


def form(path: str, parts: Iterable[bytes], end: bytes = b"--b--\r\n") -> bytes:
    return request(path, b"".join(parts) + end, "multipart/form-data; boundary=b")


def images_form(images: Sequence[bytes]) -> bytes:
    return form("/embed", [part("image", image, "a") for image in images])


def once(data: bytes) -> Callable[[], Iterable[Piece]]:
    return lambda: [data]


def whole(make: Callable[[], bytes]) -> Callable[[], Iterable[Piece]]:
    """What `make` gives, in one piece."""
    return lambda: [make()]
