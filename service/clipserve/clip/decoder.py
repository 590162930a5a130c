"""`python -m clipserve.clip.decoder`: decodes images for the service, one after the other, in a separate process.

It can be killed, unlike a thread, and a vulnerability of a decoder reaches only this process. So it imports only
Pillow and code for images, holds no setting and no secret, and answers in bytes and JSON, which cannot run code.

Standard input is a socket. One byte says that the process is ready. A question is the length of a task and that of
an image, what was announced of the image (`clipserve.clip.announced`), then task and image; a task is JSON. An
answer is a kind, a length and as many bytes: pixels, an error as JSON, or the header if nothing was announced.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clipserve.clip.images import ImageHeader, ImageLimits, configure_pillow, decode_rgb, read_header
from clipserve.errors import ClipError
from clipserve.turns import yield_to_event_loop

QUESTION = struct.Struct("!IQQQ")  # bytes of the task, bytes of the image, its `ImageHeader`
ANSWER = struct.Struct("!BI")  # kind, bytes
HEADER = struct.Struct("!QQ")  # an `ImageHeader`
PIXELS, ERROR, READ = 0, 1, 2
NOTHING = ImageHeader(0, 0)  # announced: only read the header
READY = b"!"
# In addition to the memory of images: Python, and memory that malloc keeps between images.
_SPARE_BYTES = 128_000_000


def receive(connection: socket.socket, size: int) -> bytearray:
    """Receive exactly so many bytes.

    Raises:
        EOFError: the other side has closed the socket.
    """
    received = bytearray(size)
    rest = memoryview(received)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return received


@functools.lru_cache
def _read_task(task: bytes) -> tuple[Any, ImageLimits, float]:
    """The fields of an `ImageSpec` and of `ImageLimits`, and the seconds of CPU time for one image."""
    fields = json.loads(task)
    limits = fields["limits"] | {"image_formats": tuple(fields["limits"]["image_formats"])}
    return SimpleNamespace(**fields["spec"]), ImageLimits(**limits), fields["seconds"]


def _answer(task: bytes, image: bytes, announced: ImageHeader) -> tuple[int, bytes]:
    """Decode and answer. SIGPROF ends the process if decoding takes too much CPU time, on a busy machine too."""
    spec, limits, seconds = _read_task(task)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        if announced == NOTHING:
            return READ, HEADER.pack(*read_header(image, spec, limits))
        return PIXELS, decode_rgb(image, spec, limits, announced)
    except ClipError as error:
        fields = {"code": error.code, "detail": error.detail, "limit": error.limit, "actual": error.actual}
        return ERROR, json.dumps(fields).encode()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _confine(memory_bytes: int) -> None:
    """Limit what this process may do, as far as an unprivileged process can on this system."""
    import resource  # not on every system, and the service imports this module

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # the service ends this process by closing the socket
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes + _SPARE_BYTES
        with suppress(ValueError):  # the present limit is lower
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with suppress(OSError):  # let the kernel kill this process, not the service
            Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    yield_to_event_loop()


def main(memory_bytes: int) -> None:
    """Answer until the service closes its end of the socket."""
    configure_pillow()
    _confine(memory_bytes)
    with socket.socket(fileno=os.dup(0)) as connection, suppress(EOFError, ConnectionError):
        connection.sendall(READY)
        while True:
            *sizes, pixels, decode_bytes = QUESTION.unpack(receive(connection, QUESTION.size))
            task, image = (bytes(receive(connection, size)) for size in sizes)
            kind, content = _answer(task, image, ImageHeader(pixels, decode_bytes))
            del image
            connection.sendall(ANSWER.pack(kind, len(content)))
            connection.sendall(content)


if __name__ == "__main__":
    main(int(sys.argv[1]))
