"""What a request meets while the models start."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from tests.support.process import LIGHT, Fresh, get, post

pytestmark = pytest.mark.slow


class Late(Fresh):
    module = "tests.e2e.late_service"


def first_answer(process: Late) -> httpx.Response:
    """Of the port of REST, which refuses connections before."""
    while True:
        try:
            return get(process.url + "/readyz")
        except httpx.ConnectError:
            assert process.popen.poll() is None, process.log()
            time.sleep(0.01)


def test_the_port_is_closed_until_the_service_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE", "1")
    monkeypatch.setenv("CLOSED", "600")
    process = Late(**LIGHT)
    assert first_answer(process).status_code == 200, "no load balancer's request is refused by a new instance"
    assert process.stop()[0] == 0


def test_a_long_start_is_told_to_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE", "600")
    monkeypatch.setenv("CLOSED", "0.1")
    process = Late(**LIGHT)
    assert first_answer(process).status_code == 503
    refused = post(process.url + "/embed", json={"texts": ["a cat"]})
    assert (refused.status_code, refused.json()["code"]) == (503, "backend_unavailable")
    assert process.stop()[0] == 0


def test_the_service_ends_at_once_while_its_ports_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE", "600")
    monkeypatch.setenv("CLOSED", "600")
    process = Late(**LIGHT)
    while True:  # the operations port is open from the beginning
        try:
            assert get(process.operations_url + "/readyz").status_code == 503
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(process.rpc_address.partition(":")[2])))
    status, log = process.stop()
    assert status == 0, log
    assert '"event": "draining"' in log
