"""Runs the edge of deploy/ on loopback: its haproxy.cfg, in front of instances with different ports."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.process import free_port, ready, running

CONFIGURATION = Path("deploy/edge/haproxy.cfg")


@dataclass(frozen=True)
class Replica:
    """The ports of an instance on 127.0.0.1."""

    rest: int
    grpc: int
    operations: int


def on_loopback(configuration: str, replicas: Sequence[Replica], port: int, metrics_port: int) -> str:
    """The configuration with these instances in place of those from DNS, and without TLS."""

    def servers(match: re.Match[str]) -> str:
        backend, rest = match.groups()
        return "\n    ".join(
            f"server {backend}{number} 127.0.0.1:{getattr(each, backend)} port {each.operations}{rest}"
            for number, each in enumerate(replicas, 1)
        )

    for there, here in (
        # An instance that waits for a core is not gone; one that drains says so.
        (r"    timeout connect .*\n", r"\g<0>    timeout check 60s\n"),
        (r"bind :8443 .*", f"bind 127.0.0.1:{port}"),
        (r"bind :8405", f"bind 127.0.0.1:{metrics_port}"),
        (r"http-check connect port 8082 ", "http-check connect "),
        (r'server-template (\w+) 8 "\$\{EDGE_TO\}":\d+(.*)', servers),
    ):
        configuration, times = re.subn(there, here, configuration)
        assert times, f"{CONFIGURATION} has no {there}"
    return configuration


@contextmanager
def edge(replicas: Sequence[Replica]) -> Iterator[str]:
    """Run HAProxy in front of these; yield host:port of REST and gRPC once it finds one ready.

    Raises:
        SystemExit: HAProxy is not installed, or finds none ready within a minute.
    """
    if not shutil.which("haproxy"):
        raise SystemExit("haproxy is not installed: apt install haproxy")
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", encoding="utf-8") as file:
        file.write(on_loopback(CONFIGURATION.read_text("utf-8"), replicas, port, free_port()))
        file.flush()
        command = ["haproxy", "-db", "-f", file.name]
        with running(
            command, "haproxy", lambda: ready(f"http://127.0.0.1:{port}"), stdout=subprocess.DEVNULL
        ):
            yield f"127.0.0.1:{port}"
