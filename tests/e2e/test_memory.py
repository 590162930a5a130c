"""What the process holds at most is what docs/production.md says: bodies, their parsing, and connections."""

from __future__ import annotations

import base64
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import PATIENT_WITH_CLIENTS, Fresh, Process, waited_until

pytestmark = pytest.mark.slow

BODY = 6_000_000
IN_FLIGHT = 60_000_000
CONNECTIONS = 300
HEADERS = 65_536
ALLOCATOR = 64_000_000
FORM = "multipart/form-data; boundary=b"
_EMPTY = "00000000:00000000"  # the queues of a socket, to be sent and to be read
EMOJI = "\N{GRINNING FACE}".encode()  # with it, a string in Python takes four bytes a character


def part(name: str, value: bytes, file: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


def image(size: int) -> bytes:
    return part("image", random.Random(0).randbytes(size), '; filename="x"')


BODIES = {
    "an image": ("image/png", random.Random(0).randbytes(BODY)),
    "a form of an image": (FORM, image(BODY - 1_000) + b"--b--"),
    "a form of 32 images": (FORM, image(BODY // 32 - 1_000) * 32 + b"--b--"),
    "a form of text": (FORM, part("text", b"a" * (BODY - 1_000) + EMOJI) + b"--b--"),
    "JSON with an image": (
        "application/json",
        json.dumps({"images": [base64.b64encode(bytes(BODY * 3 // 4 - 1_000)).decode()]}).encode(),
    ),
    "JSON with what is no image": (
        "application/json",
        b'{"images": ["' + b"a" * (BODY - 1_000) + EMOJI + b'"]}',
    ),
}


class Measured:
    """A process, and the memory that it takes from now on."""

    def __init__(self, process: Process) -> None:
        self._folder = Path(f"/proc/{process.popen.pid}")
        self._port = int(process.url.rpartition(":")[2])
        self._before = self._read("VmRSS")
        self.restart()

    def restart(self) -> None:
        """The peak begins anew; what the process has kept since the beginning is part of it."""
        (self._folder / "clear_refs").write_text("5")

    def grown(self) -> int:
        """Bytes at its peak."""
        return self._read("VmHWM") - self._before

    def connect(self, data: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        client.sendall(data)
        return client

    def has_read_all(self) -> bool:
        """Whether nothing of what was sent is still in a socket, on either side."""
        port = f":{self._port:04X}"
        sockets = (line.split() for line in (self._folder / "net/tcp").read_text().splitlines())
        return all(each[4] == _EMPTY for each in sockets if port in each[1] + each[2])

    def _read(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


@contextmanager
def started() -> Iterator[Process]:
    process = Fresh(
        backend="onnx",
        max_in_flight_bytes=IN_FLIGHT,
        max_in_flight_bytes_per_address=IN_FLIGHT,
        max_body_bytes=BODY,
        max_connections=CONNECTIONS,
        max_header_bytes=HEADERS,
        min_body_bytes_per_second=1,
        **PATIENT_WITH_CLIENTS,
    )
    process.wait_ready()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    with started() as process:
        yield Measured(process)


@pytest.mark.parametrize("body", BODIES)
def test_bodies_take_what_the_budget_has_and_ten_bodies_for_their_parsing(
    measured: Measured, body: str
) -> None:
    content_type, content = BODIES[body]
    head = f"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    measured.restart()
    clients = [measured.connect(head.encode() + content[:-1]) for _ in range(IN_FLIGHT // BODY)]
    waited_until(measured.has_read_all)
    for client in clients:
        client.sendall(content[-1:])
    for client in clients:
        assert client.recv(65_536).startswith(b"HTTP/1.1 4")
        client.close()
    assert IN_FLIGHT * 0.3 < measured.grown() < IN_FLIGHT + 10 * BODY + ALLOCATOR
