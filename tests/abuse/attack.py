"""What an attack is: pieces that go onto a connection, and what may come back."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


class Act(enum.Enum):
    """What a client does besides sending and waiting."""

    RESET = "close without a goodbye"
    AWAIT = "wait for one answer more"
    DEAF = "read nothing from here on"


Piece = bytes | float | Act  # to send, seconds to wait, or an act
Make = Callable[[], Iterable[Piece]]


@dataclass(frozen=True)
class Attack:
    """One bad input.

    Attributes:
        make: the pieces, the same at each call.
        legal: 200 is a right answer too: nothing is wrong with it but its cost.
        silent: no answer is right too: the request never ends, or is none.
        answers: how many there may be; who has them leaves.
        patience: seconds after which the client leaves. Within the usual ones the server answers or ends it.
        photos: it costs at most the CPU time of so many photos of 12 megapixels.
        rpc: it goes to the gRPC port.
        connections: so many of one address repeat it at the same time.
    """

    id: str
    make: Make = field(repr=False)
    legal: bool = False
    silent: bool = False
    answers: int = 1
    patience: float = 60.0
    photos: float = 4.0
    rpc: bool = False
    connections: int = 8


@dataclass(frozen=True)
class Played:
    """What is played, and how. `address`: host, port and whence. `seconds`: for how long it is repeated."""

    attack: Attack
    pieces: tuple[Piece, ...]
    address: tuple[str, int, str]
    connections: int
    seconds: float


def request(
    path: str, body: bytes = b"", content_type: str = "application/json", *more: str, method: str = "POST"
) -> bytes:
    """One request as it goes over the wire. `more`: lines of the header."""
    length = f"Content-Length: {len(body)}"
    return head(path, f"Content-Type: {content_type}", length, *more, method=method) + body


@functools.cache
def good(width: int = 640, height: int = 480) -> bytes:
    """A request that any client may send: a photo and two labels."""
    from loadtests.bodies import photo  # it loads numpy and Pillow, which an attacker's process does without

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


def form(path: str, parts: Iterable[bytes]) -> bytes:
    return request(path, b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b")


def images(files: Iterable[bytes]) -> bytes:
    """A form of these images."""
    return form("/embed", [part("image", file, "a") for file in files])
