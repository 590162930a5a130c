"""Connections that wait are accepted together, so that nobody waits behind hundreds of another one's."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import uvloop
from starlette.responses import Response

from clipserve.rest.protocol import Connections
from clipserve.rest.server import Server
from clipserve.telemetry.metrics import Metrics
from tests.rest.raw import get
from tests.rest.test_connections import LIMITS
from tests.rest.wire import Echo

COUNT = 100


async def turns_until_all_are_accepted() -> int:
    connections = Connections(replace(LIMITS, max_connections=2 * COUNT), Metrics())
    server = Server(Echo(), connections, 0)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * COUNT))
        for _ in range(COUNT):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        serving = asyncio.create_task(server.serve([listener]))
        turns = 0
        while len(connections.connections) < COUNT:
            await asyncio.sleep(0)
            turns += 1
        server.should_exit = server.force_exit = True
        await serving
    return turns


def test_a_hundred_that_wait_are_accepted_in_a_few_turns_of_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_until_all_are_accepted()) < COUNT / 4


async def serve_without_files() -> None:
    """Print what a client gets while the process may open no file, whether that is a busy loop, and what after."""
    server = Server(Response(b"served"), Connections(LIMITS, Metrics()), 0)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.sleep(0.2)
    clients = [socket.socket() for _ in range(2)]
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, usual[1]))
    clients[0].connect(address)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    await asyncio.sleep(1)
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    clients[1].connect(address)
    clients[1].sendall(get(b"/", b"Connection: close"))
    await asyncio.sleep(0.5)
    print(clients[0].recv(9), spent < 0.5, clients[1].recv(999)[-6:])
    server.should_exit = server.force_exit = True
    await serving


def test_a_process_that_may_open_no_more_files_closes_new_connections_and_serves_again_after() -> None:
    script = "import uvloop, tests.rest.test_accepting as this; uvloop.run(this.serve_without_files())"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout == "b'' True b'served'\n", run.stderr


async def test_at_the_end_a_connection_that_waits_to_be_accepted_is_answered() -> None:
    server = Server(Response(b"served"), Connections(LIMITS, Metrics()), 10)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.01)
    with socket.create_connection(listener.getsockname()) as client:  # no turn of the loop from here
        client.sendall(get(b"/"))
        await server.shutdown([listener])
        assert client.recv(999).endswith(b"served")
    server.should_exit = server.force_exit = True
    await serving
