"""Processes that decode images. They can be killed, and a bug in a decoder ends one of them, not the service.

One thread calls each process, and waits in a system call. So the queue in front of the threads is the same as
without processes.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict

import numpy as np

from clipserve.application.decoding import took_too_long
from clipserve.clip.decoder import ANSWER, ERROR, HEADER, NOTHING, PIXELS, QUESTION, READ, READY, receive
from clipserve.clip.images import ANY_SIZE, ImageHeader, ImageLimits
from clipserve.clip.manifest import ImageSpec
from clipserve.engine.backend import Pixels
from clipserve.errors import BackendUnavailable, ClipError, ImageTooLarge, UndecodableImage, UnsupportedFormat
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_COMMAND = (sys.executable, "-P", "-m", "clipserve.clip.decoder")  # -P: not from the working directory
# What the interpreter and the loader of libraries need. Everything else may be a secret.
_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE")
_ENVIRONMENT = {"HOME", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", *_PYTHON}
_ERRORS = {kind.code: kind for kind in (ImageTooLarge, UndecodableImage, UnsupportedFormat)}
_MAX_ERROR_BYTES = 10_000
# A decoder ends itself by its CPU time. One that sleeps, which none should, is killed after this multiple of it.
_PATIENCE = 20
_NOT_STARTED = "a decoder could not be started. The log of the service may say why."
_START_SECONDS = 60.0  # it needs a tenth of a second of CPU time


class DecoderProcesses:
    """A pool of processes. `threads` may call `decode` at a time. Two processes start now, others when needed."""

    def __init__(self, threads: int, memory_bytes: int, seconds: float, metrics: Metrics) -> None:
        """`memory_bytes`: the limit for one image. `seconds`: the limit of CPU time for one image."""
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._metrics = metrics
        self._closed = False
        self._all: set[_Process] = set()
        self._idle = [self._started() for _ in range(min(threads, 2))]  # a stack: the last used is the next

    def decode(
        self, image: bytes, spec: ImageSpec, limits: ImageLimits, announced: ImageHeader = ANY_SIZE
    ) -> Pixels:
        """Decode in a process: uint8 [S, S, 3].

        Raises:
            UnsupportedFormat, ImageTooLarge, UndecodableImage: see `decode_pixels`.
            ImageTooLarge: the image takes too much CPU time; its process was ended.
            UndecodableImage: the process ended at the image.
            BackendUnavailable: a process cannot be started.
        """
        rgb = self._asked(image, spec, limits, announced, PIXELS, spec.size * spec.size * 3)
        return np.frombuffer(rgb, np.uint8).reshape(spec.size, spec.size, 3)

    def read_header(self, image: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageHeader:
        """`clipserve.clip.images.read_header` in a process. Raises its errors, and those of `decode`."""
        return ImageHeader(*HEADER.unpack(self._asked(image, spec, limits, NOTHING, READ, HEADER.size)))

    def _asked(
        self,
        image: bytes,
        spec: ImageSpec,
        limits: ImageLimits,
        announced: ImageHeader,
        kind: int,
        length: int,
    ) -> bytearray:
        process = self._next()
        try:
            if not process.ready:
                process.wait_ready()
            answer = process.ask(_task(spec, limits, self._seconds), image, announced, (kind, length))
        except Exception as error:  # it ended, timed out, or was taken over and answers anything
            started, status = process.ready, process.end()
            late = status == -signal.SIGPROF or isinstance(error, TimeoutError)
            self._count(process, "late" if late else "died", status)
            raise self._error(started=started, late=late) from None
        self._idle.append(process)
        if isinstance(answer, ClipError):
            raise answer
        return answer

    def close(self) -> None:
        """Kill all processes."""
        self._closed = True
        for process in list(self._all):
            process.end()

    def _next(self) -> _Process:
        with suppress(IndexError):
            while True:
                process = self._idle.pop()
                status = process.ended
                if status is None:
                    return process
                process.end()
                self._count(process, "died", status)
        return self._started()

    def _started(self) -> _Process:
        try:
            process = _Process(self._memory_bytes, self._seconds * _PATIENCE)
        except OSError:
            logger.exception("decoder_not_started")
            raise BackendUnavailable(_NOT_STARTED) from None
        self._all.add(process)
        if self._closed:  # the service is ending
            process.end()
        return process

    def _count(self, process: _Process, reason: str, status: int) -> None:
        self._all.discard(process)
        if not self._closed:
            self._metrics.decoders_replaced(reason).inc()
            logger.warning("decoder_replaced", reason=reason, status=status)

    def _error(self, *, started: bool, late: bool) -> ClipError:
        if not started:
            return BackendUnavailable(_NOT_STARTED)
        if late:
            return took_too_long(self._seconds)
        return UndecodableImage(
            "the decoder ended at this image: the image is broken, or larger than its header says."
        )


class _Process:
    """`seconds`: how long it may keep its caller waiting for an answer. `ready`: it has started."""

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_START_SECONDS)
        self._seconds = seconds
        self.ready = False
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - our own module
                [*_COMMAND, str(memory_bytes)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name in _ENVIRONMENT},
                process_group=0,  # Ctrl-C reaches only the service, which lets its requests end
            )

    @property
    def ended(self) -> int | None:
        """The exit status, if it has ended."""
        return self._popen.poll()

    def wait_ready(self) -> None:
        """Until it has started.

        Raises:
            OSError, EOFError: it has not.
        """
        if receive(self._socket, len(READY)) != READY:
            raise EOFError
        self.ready = True
        self._socket.settimeout(self._seconds)

    def ask(
        self, task: bytes, image: bytes, announced: ImageHeader, expected: tuple[int, int]
    ) -> bytearray | ClipError:
        """The answer, of the expected kind and length, or the error of the image.

        Raises:
            OSError, EOFError: it ended, answers what cannot be, or too late.
        """
        self._socket.sendall(QUESTION.pack(len(task), len(image), *announced) + task)
        self._socket.sendall(image)
        kind, length = ANSWER.unpack(receive(self._socket, ANSWER.size))
        if (kind, length) == expected:
            return receive(self._socket, length)
        if kind == ERROR and length <= _MAX_ERROR_BYTES:
            return _read_error(receive(self._socket, length))
        raise EOFError

    def end(self) -> int:
        """Its exit status."""
        self._popen.kill()
        status = self._popen.wait()
        self._socket.close()
        return status


def _read_error(content: bytearray) -> ClipError:
    fields = json.loads(content)
    kind = _ERRORS[fields["code"]]
    return kind(fields["detail"], limit=fields["limit"], actual=fields["actual"])


@functools.lru_cache
def _task(spec: ImageSpec, limits: ImageLimits, seconds: float) -> bytes:
    """See `clipserve.clip.decoder`."""
    task = {"spec": spec.model_dump(), "limits": asdict(limits), "seconds": seconds}
    return json.dumps(task).encode()
