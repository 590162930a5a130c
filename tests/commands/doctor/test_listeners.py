"""Who listens on a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from clipserve.commands.doctor.network import listener_on
from loadtests.process import free_port
from tests.commands.doctor.asking import doctor

OWN = Path("/proc", str(os.getpid()))


def test_ipv6_is_looked_at_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        assert listener_on(taken.getsockname()[1]) == OWN


def test_a_port_without_a_listener_has_none() -> None:
    assert listener_on(free_port()) is None


def test_arguments_are_not_told() -> None:
    program = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "--password=a-secret"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        told = doctor("--only", "ports", port=int(process.stdout.readline()), grpc_port=0, operations_port=0)
        process.kill()
    said = f"process {process.pid} ({Path(sys.executable).name}) has it"
    assert told.only("problem")["found"].endswith(said)
    assert "a-secret" not in told.output
