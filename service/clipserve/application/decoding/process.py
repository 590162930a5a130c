"""One process that decodes images, one at a time, and the event loop's end of its channel.

    state     left by                             into
    STARTING  its first message                   IDLE, or BUSY if it was asked before
    IDLE      `ask`                               BUSY
    BUSY      its answer                          IDLE
    any       its end, a message that cannot be,  ENDING
              its clock, `end`
    ENDING    the kernel: its status is known     gone

Image and pixels lie in memory that both processes map; a message of a few bytes each way says that they are there.
So nothing here blocks, and no thread waits. A process that was taken over can write there what it likes, whenever
it likes: these are only the pixels of its own images, which are copied before use. It cannot take the memory away,
because the file is sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from clipserve.application.decoding.decoders import Look, Result, Task
from clipserve.application.decoding.shared_file import shared_file
from clipserve.clip import decoder
from clipserve.clip.images import ImageHeader, ImageLimits
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ClipError, ImageTooLarge, UndecodableImage, UnsupportedFormat
from clipserve.telemetry.log import logger

# What the interpreter and the loader of libraries need. Everything else may be a secret.
_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE")
_ENVIRONMENT = {"HOME", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", *_PYTHON}
_ERRORS = {kind.code: kind for kind in (ImageTooLarge, UndecodableImage, UnsupportedFormat)}
_MAX_ERROR_BYTES = 10_000
_START_SECONDS = 60.0  # it needs a tenth of a second of CPU time
# A decoder ends itself by its CPU time. One that sleeps, which none should, is killed after this multiple of it.
_PATIENCE = 20
_HEAD_BYTES = 65_536
_REAP_SECONDS = 0.005

Ended = Callable[[Result], None]  # called at the end of an image


@dataclass(frozen=True)
class DecoderOptions:
    """What all processes have in common.

    Attributes:
        memory_bytes: the limit for one image.
        seconds: the limit of CPU time for one image.
        image_bytes: the most bytes of an image's file, and of its pixels, of which the largest encoder takes 50 MB.
            The memory for them is taken where it is written to, so that much of it costs nothing.
        command: it is given the limit of memory and the descriptor of the shared memory. -P: the modules of the
            working directory are none of ours.
    """

    memory_bytes: int
    seconds: float
    image_bytes: int = 64_000_000
    command: Sequence[str] = (sys.executable, "-P", "-m", "clipserve.clip.decoder")


class DecoderProcess:
    """Starts now. All calls are of the event loop that runs.

    Attributes:
        ready: it has started.
        late: it is ended because it took too long.
    """

    def __init__(
        self,
        options: DecoderOptions,
        idle: Callable[[DecoderProcess], None],
        gone: Callable[[DecoderProcess, int, Ended | None], None],
    ) -> None:
        """Start it.

        Args:
            options: see `DecoderOptions`.
            idle: called with it when it has answered.
            gone: called when it has ended, with its status, and with `ended` of the image at which it did.

        Raises:
            OSError: it cannot be started.
        """
        self.ready = self.late = self._ending = False
        self._options = options
        self._idle, self._gone = idle, gone
        self._asked: tuple[Task, Ended] | None = None  # while it is busy
        self._since = time.monotonic()  # when its present work began
        self._clock: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        shared_bytes = options.image_bytes + _HEAD_BYTES
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(shared_file(shared_bytes))
            self._memory = mmap.mmap(self._file.fileno(), shared_bytes)
            self._written = np.frombuffer(self._memory, np.uint8)
            self._socket, theirs = socket.socketpair()
            opened.enter_context(self._socket)
            with theirs:
                self._popen = self._start(theirs.fileno(), self._file.fileno())
            opened.callback(self._popen.kill)
            self._socket.setblocking(False)
            self._loop.add_reader(self._socket, self._hear)
            opened.callback(self._loop.remove_reader, self._socket)
            self._close = opened.pop_all().close

    def _start(self, channel: int, shared: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module
            [*self._options.command, str(self._options.memory_bytes), str(shared)],
            stdin=channel,
            stdout=subprocess.DEVNULL,
            pass_fds=(shared,),
            env={name: value for name, value in os.environ.items() if name in _ENVIRONMENT},
            process_group=0,  # Ctrl-C reaches only the service, which lets its requests end
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, task: Task, ended: Ended) -> bool:
        """Look at an image: `ended` gets the result, or `gone` gets `ended`.

        False: it has ended before, or there is no memory for the image, and is ended.
        """
        if self._ending:
            return False
        head, image = _head(task.spec, task.limits, self._options.seconds), task.image
        size = len(head) + len(image)
        try:
            if size <= decoder.KEPT_BYTES:
                self._memory[: len(head)] = head
                self._memory[len(head) : size] = image
            # New pages cost a store each a fault, and a call half of that.
            elif os.pwritev(self._file.fileno(), (head, image), 0) < size:
                raise OSError("there is no memory for all of the image")
            self._socket.send(decoder.QUESTION.pack(len(head), len(image), task.room))
        except OSError as error:
            logger.warning("decoder_not_asked", reason=error.strerror or str(error))
            self.end()
            return False
        self._asked, self._since = (task, ended), time.monotonic()
        if self._clock is None:
            self._watch()
        return True

    def end(self) -> None:
        """Kill it; `gone` is called when it has ended."""
        if not self._ending:
            self._let_go()
            self._loop.call_soon(self._reap)

    def kill(self) -> Ended | None:
        """Kill it, and wait until it has ended. Returns `ended` of its image; `gone` must not mind."""
        if not self._ending:
            self._let_go()
        self._popen.wait()
        return self._asked and self._asked[1]

    def _let_go(self) -> None:
        self._ending = True
        self._close()
        if self._clock:
            self._clock.cancel()

    def _reap(self) -> None:
        status = self._popen.poll()
        if status is None:
            self._loop.call_later(_REAP_SECONDS, self._reap)
        else:
            self._gone(self, status, self._asked and self._asked[1])

    def _watch(self) -> None:
        """The clock. It is not set for each image, but when it strikes, for the rest of the present one's time."""
        self._clock = None
        if self._asked:
            most = self._options.seconds * _PATIENCE if self.ready else _START_SECONDS
            left = self._since + most - time.monotonic()
            if left > 0:
                self._clock = self._loop.call_later(left, self._watch)
            else:
                self.late = True
                self.end()

    def _hear(self) -> None:
        try:
            kind, size, *header = decoder.ANSWER.unpack(self._socket.recv(decoder.ANSWER.size))
            if kind == decoder.READY and not self.ready:
                self.ready, self._since = True, time.monotonic()
                if self._clock:  # it has the long time of a start
                    self._clock.cancel()
                    self._watch()
                return
            if not self.ready or not self._asked:
                raise ValueError
            task, ended = self._asked
            result = self._result(task, kind, size, ImageHeader(*header))
        except BlockingIOError:
            return
        except Exception:  # it has ended, or was taken over and answers anything
            self.end()
            return
        self._asked = None
        self._idle(self)
        ended(result)

    def _result(self, task: Task, kind: int, size: int, header: ImageHeader) -> Result:
        """What it answers, pixels as a copy. Raises Exception: that cannot be the answer."""
        side = task.spec.size
        if kind == decoder.PIXELS and size == side * side * 3:
            result: Result = Look(header, self._written[:size].reshape(side, side, 3).copy())
        elif kind == decoder.SIZE and not size:
            result = Look(header, None)
        elif kind == decoder.ERROR and size <= _MAX_ERROR_BYTES:
            result = _read_error(self._memory[:size])
        else:
            raise ValueError
        decoder.give_back(self._memory, size)
        return result


def _read_error(content: bytes) -> ClipError:
    fields = json.loads(content)
    kind = _ERRORS[fields["code"]]
    return kind(fields["detail"], limit=fields["limit"], actual=fields["actual"])


@functools.lru_cache
def _head(spec: ImageSpec, limits: ImageLimits, seconds: float) -> bytes:
    """See `clipserve.clip.decoder`."""
    task = {"spec": spec.model_dump(), "limits": asdict(limits), "seconds": seconds}
    return json.dumps(task).encode()
