"""A real Redis, for the tests in `external/redis`."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import weakref

from loadtests.process import free_port

PASSWORD = "a-password"


class RedisServer:
    """Debian's redis-server. What a test tells it to write goes into a folder that is gone with this object."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="clipserve-redis-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--requirepass", PASSWORD]
        self.popen = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL, cwd=self._folder)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    async def answers(self) -> None:
        async with asyncio.timeout(300):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                except ConnectionError:
                    await asyncio.sleep(0.02)

    def ask(self, *command: str) -> str:
        """What redis-cli prints."""
        options = ["-p", str(self.port), "-a", PASSWORD, "--no-auth-warning"]
        return subprocess.run(
            ["redis-cli", *options, *command], capture_output=True, text=True, check=True
        ).stdout
