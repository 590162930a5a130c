"""One worker, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

import orjson

from clipserve.processes.channel import MAX_LINE, Command, settings_message
from clipserve.processes.summing import Families, read
from clipserve.settings import Settings

_MODULE = "clipserve.processes.worker"
_PAGE_SECONDS = 1.0  # for its metrics; then those that it told before count
_LAST_SECONDS = 10.0  # for the end of the process after that of its channel


class Child:
    """A process that serves, and its end of the channel.

    Attributes:
        heard: it has given a sign of life.
        silent_seconds: since the last one; whoever watches counts them.
        blocked_seconds: how long its event loop has given none, as it says itself.
        fault: why it could not start, if it has said so.
        was_ready: it has been ready once.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ready = False
        self._page = ""
        self._asked: asyncio.Future[None] | None = None
        self.heard = self.was_ready = False
        self.silent_seconds = self.blocked_seconds = 0.0
        self.fault: str | None = None

    @classmethod
    async def start(cls, settings: Settings) -> Child:
        """It runs, and has been sent its settings."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for the supervisor
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        writer.write(settings_message(settings))
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def ready(self, within: float) -> bool:
        """Whether it says so, and has said something in the last `within` seconds."""
        return self._ready and self.running and self.silent_seconds < within

    def tell(self, command: Command) -> None:
        """Nothing happens if it has ended."""
        self._writer.write(f"{command}\n".encode())

    def kill(self) -> None:
        """End it now, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """Hear what it says until it ends: its exit status, or less the number of the signal."""
        try:
            with suppress(ConnectionError, ValueError):  # the latter: what it says cannot be read
                while said := await self._reader.readline():
                    self._hear(orjson.loads(said))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    return await self._process.wait()
            self.kill()
            return await self._process.wait()
        finally:
            self._ready = False
            self._writer.close()
            self._answered()

    async def tell_metrics(self) -> None:
        """Ask for them, and wait for a moment."""
        if self.heard and self.running:
            if self._asked is None:
                self._asked = asyncio.get_running_loop().create_future()
                self.tell("metrics")
            await asyncio.wait({self._asked}, timeout=_PAGE_SECONDS)

    def metrics(self) -> Families:
        """Those that it has told last."""
        return read(self._page) if self._page else []

    def _hear(self, said: dict[str, object]) -> None:
        self.heard, self.silent_seconds = True, 0.0
        match said:
            case {"ready": bool(ready), "blocked": float(blocked)}:
                self._ready, self.blocked_seconds = ready, blocked
                self.was_ready = self.was_ready or ready
            case {"page": str(page)}:
                self._page = page
                self._answered()
            case {"fault": str(fault)}:
                self.fault = fault

    def _answered(self) -> None:
        if self._asked is not None:
            self._asked.set_result(None)
            self._asked = None
