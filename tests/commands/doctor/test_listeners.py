"""Who listens on a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from clipserve.commands.doctor.listeners import listener_on
from loadtests.process import free_port

PROC = Path("/proc")


def test_the_process_that_listens_is_found_wherever_the_socket_stands_among_its_files() -> None:
    closed = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for each in closed:  # what looks opens a file itself, now before the socket
            os.close(each)
        found = listener_on(taken.getsockname()[1], PROC)
    assert found
    assert (found.pid, found.is_clipserve) == (os.getpid(), False)


def test_ipv6_is_looked_at_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        found = listener_on(taken.getsockname()[1], PROC)
    assert found
    assert found.pid == os.getpid()


def test_a_port_without_a_listener_has_none() -> None:
    assert listener_on(free_port(), PROC) is None


def test_arguments_are_not_told() -> None:
    program = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "--password=a-secret"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        found = listener_on(port, PROC)
        process.kill()
    assert found
    assert str(found) == f"process {process.pid} ({Path(sys.executable).name})"
