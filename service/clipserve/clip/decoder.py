"""`python -m clipserve.clip.decoder`: decodes images for the service, one after the other, in a separate process.

It can be killed, unlike a thread, and a vulnerability of a decoder reaches only this process. So it imports only
Pillow and code for images, holds no setting and no secret, and answers in bytes and JSON, which cannot run code.

Standard input is a socket for messages of a fixed size; what they are about lies in a file in memory that the
service shares with this process alone. An answer of the kind READY comes first. A question says how many bytes of a
task and of an image, one behind the other, lie in the memory, and how much memory decoding may take; a task is
JSON. An answer says what lies there in their place, how many bytes of it, and the image's size: pixels, an error as
JSON, or nothing if decoding takes more.
"""

from __future__ import annotations

import functools
import json
import mmap
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clipserve.clip.images import ImageHeader, ImageLimits, configure_pillow, decode_rgb
from clipserve.errors import ClipError

QUESTION = struct.Struct("!IQQ")  # bytes of the task, of the image, and that decoding it may take
ANSWER = struct.Struct("!BIQQ")  # kind, bytes, the `ImageHeader`
PIXELS, ERROR, SIZE, READY = range(4)
_NO_HEADER = ImageHeader(0, 0)
# In addition to the memory of images: Python, and memory that malloc keeps between images.
_SPARE_BYTES = 128_000_000
KEPT_BYTES = 1 << 20  # of the shared memory, from image to image


def give_back(memory: mmap.mmap, size: int) -> None:
    """Empty shared memory, of which so many bytes were written, but for a first part that the next image reuses."""
    if size > KEPT_BYTES and sys.platform == "linux":
        memory.madvise(mmap.MADV_REMOVE, KEPT_BYTES)


@functools.lru_cache
def _read_task(task: bytes) -> tuple[Any, ImageLimits, float]:
    """The fields of an `ImageSpec` and of `ImageLimits`, and the seconds of CPU time for one image."""
    fields = json.loads(task)
    limits = fields["limits"] | {"image_formats": tuple(fields["limits"]["image_formats"])}
    return SimpleNamespace(**fields["spec"]), ImageLimits(**limits), fields["seconds"]


def _answer(task: bytes, image: bytes, room: int) -> tuple[int, bytes, ImageHeader]:
    """Decode and answer. SIGPROF ends the process if decoding takes too much CPU time, on a busy machine too."""
    spec, limits, seconds = _read_task(task)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        header, rgb = decode_rgb(image, spec, limits, room)
        return PIXELS if rgb else SIZE, rgb, header
    except ClipError as error:
        fields = {"code": error.code, "detail": error.detail, "limit": error.limit, "actual": error.actual}
        return ERROR, json.dumps(fields).encode(), _NO_HEADER
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


def main(memory_bytes: int, shared: int) -> None:
    """Answer until the service closes its end of the socket. `shared`: the descriptor of the shared memory."""
    configure_pillow()
    with mmap.mmap(shared, 0) as memory, socket.socket(fileno=os.dup(0)) as connection:
        _confine(memory_bytes)
        with suppress(ConnectionError):
            connection.sendall(ANSWER.pack(READY, 0, *_NO_HEADER))
            while question := connection.recv(QUESTION.size, socket.MSG_WAITALL):
                task_bytes, image_bytes, room = QUESTION.unpack(question)
                end = task_bytes + image_bytes
                task, image = memory[:task_bytes], memory[task_bytes:end]
                give_back(memory, end)
                kind, content, header = _answer(task, image, room)
                del image
                memory[: len(content)] = content
                connection.sendall(ANSWER.pack(kind, len(content), *header))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
