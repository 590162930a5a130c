"""What our connections and server lean on in uvicorn, so that a new version that lacks it fails here first."""

from __future__ import annotations

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from clipserve.rest.protocol import Connections, Protocol
from clipserve.rest.server import Server
from tests.rest.test_connections import LIMITS
from tests.rest.wire import METRICS, Echo, fed, protocol_of

OVERRIDDEN = {
    Protocol: (
        "connection_made connection_lost data_received shutdown on_message_begin on_headers_complete "
        "on_body on_message_complete on_response_complete _start_asgi_task"
    ),
    Server: "serve shutdown",
}
USED = {
    HttpToolsProtocol: "pause_writing resume_writing",
    RequestResponseCycle: "run_asgi send receive",
    FlowControl: "resume_reading",
    uvicorn.Server: "_serve",
    httptools_impl: "STATUS_LINE",
}
ATTRIBUTES = {
    "protocol": "app client cycle flow headers loop parser scope server_state tasks transport url",
    "cycle": "disconnected keep_alive message_event response_started transport",
    "server": "config force_exit server_state should_exit started",
    "state": "connections default_headers tasks",
}


@pytest.mark.parametrize("kind", OVERRIDDEN, ids=lambda kind: kind.__name__)
def test_uvicorn_has_each_method_that_is_overridden_with_the_same_arguments(kind: type) -> None:
    for name in OVERRIDDEN[kind].split():
        ours, theirs = (inspect.signature(getattr(each, name)) for each in (kind, kind.__mro__[1]))
        assert len(ours.parameters) == len(theirs.parameters), name


@pytest.mark.parametrize("owner", USED, ids=lambda owner: owner.__name__)
def test_uvicorn_has_what_is_called(owner: object) -> None:
    assert [name for name in USED[owner].split() if not hasattr(owner, name)] == []


async def test_uvicorn_s_objects_have_each_attribute_that_is_read_or_set() -> None:
    protocol = protocol_of(Echo(), LIMITS)
    await fed(protocol, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    objects = {
        "protocol": protocol,
        "cycle": protocol.cycle,
        "server": Server(Echo(), Connections(LIMITS, METRICS), 0),
        "state": ServerState(),
    }
    for name, owner in objects.items():
        assert [each for each in ATTRIBUTES[name].split() if each not in vars(owner)] == [], name
    protocol.connection_lost(None)
