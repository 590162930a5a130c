"""A Triton of arithmetic, and a gateway of two processes in front of it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.process import free_port
from tests.process import ROOT, Process
from tests.support import write_toy_artifact


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of arithmetic."""
    return asyncio.run(write_toy_artifact(tmp_path_factory.mktemp("artifact") / "toy"))


@pytest.fixture(scope="module")
def triton(toy: Path) -> Iterator[str]:
    """host:port of a Triton with it, which answers at once."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.fake_triton", str(port), str(toy)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
        process.kill()


def two_processes(toy: Path, triton: str, **settings: str | int) -> Process:
    """A gateway in front of it, which may not be ready yet."""
    defaults: dict[str, str | int] = {"processes": 2, "backend": "triton", "max_blocked_seconds": 5}
    # Two are enough for what is tested here, and quicker than processes to start.
    defaults |= {"decode_processes": "false", "state_dir": str(toy.parent)}
    return Process(models=str(toy), triton_url=triton, **(defaults | settings))


@pytest.fixture(scope="module")
def gateway(toy: Path, triton: str) -> Iterator[Process]:
    """One for all tests of a module, which leave it with two processes that are ready."""
    process = two_processes(toy, triton)
    process.wait_ready(120)
    yield process
    assert process.stop()[0] == 0
