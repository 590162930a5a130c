"""Processes that decode images. They can be killed, and a bug in a decoder ends one of them, not the service.

An image at which a process ends is refused, because it may be at fault; the process is replaced when there is work
for another one.
"""

from __future__ import annotations

import asyncio
import signal

from clipserve.application.decoding.decoders import Task, closed, took_too_long
from clipserve.application.decoding.process import DecoderOptions, DecoderProcess, Ended
from clipserve.errors import BackendUnavailable, ClipError, ImageTooLarge, UndecodableImage, check_limit
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_NOT_STARTED = "a decoder could not be started. The log of the service may say why."
_STARTED_AT_ONCE = 2


class DecoderProcesses:
    """Decode `most` images at a time. Two processes start now, others when needed.

    Attributes:
        all: those that have not ended.
    """

    def __init__(self, most: int, options: DecoderOptions, metrics: Metrics) -> None:
        """The event loop that calls the methods must run. `metrics` count processes that were replaced.

        Raises:
            BackendUnavailable: a process cannot be started.
        """
        self._options = options
        self._metrics = metrics
        self._closed = False
        self.all: set[DecoderProcess] = set()
        self._idle: list[DecoderProcess] = []  # a stack: the last used is the next
        for _ in range(min(most, _STARTED_AT_ONCE)):
            self._idle.append(self._started())

    def start(self, task: Task, ended: Ended) -> None:
        """Decode in a process: a `Start`. `ended` gets a `Look` or an error.

        The errors are those of `decode_rgb`, and besides:
            ImageTooLarge: the image takes too much CPU time; its process was ended.
            ImageTooLarge: its file has more bytes than a decoder takes.
            UndecodableImage: the process ended at the image.
            BackendUnavailable: a process cannot be started.
        """
        what, most = "the file of the image has {:,} bytes", self._options.image_bytes
        try:
            check_limit(ImageTooLarge, what, len(task.image), most)
            self._ask(task, ended)
        except ClipError as error:
            asyncio.get_running_loop().call_soon(ended, error.with_traceback(None))

    def close(self) -> None:
        """Kill all processes."""
        self._closed = True
        while self.all:
            if ended := self.all.pop().kill():
                ended(closed())

    def _ask(self, task: Task, ended: Ended) -> None:
        if self._closed:
            raise closed()
        while self._idle:
            if self._idle.pop().ask(task, ended):
                return
        if not self._started().ask(task, ended):
            raise BackendUnavailable(_NOT_STARTED)

    def _started(self) -> DecoderProcess:
        try:
            process = DecoderProcess(self._options, self._idle.append, self._gone)
        except OSError:
            logger.exception("decoder_not_started")
            raise BackendUnavailable(_NOT_STARTED) from None
        self.all.add(process)
        return process

    def _gone(self, process: DecoderProcess, status: int, ended: Ended | None) -> None:
        if process not in self.all:  # closed
            return
        self.all.remove(process)
        if process in self._idle:
            self._idle.remove(process)
        late = process.late or status == -signal.SIGPROF
        reason = "late" if late else "died"
        self._metrics.decoders_replaced(reason).inc()
        logger.warning("decoder_replaced", reason=reason, status=status)
        if ended:
            ended(self._error(started=process.ready, late=late))

    def _error(self, *, started: bool, late: bool) -> ClipError:
        if not started:
            return BackendUnavailable(_NOT_STARTED)
        if late:
            return took_too_long(self._options.seconds)
        return UndecodableImage(
            "the decoder ended at this image: the image is broken, or larger than its header says."
        )
