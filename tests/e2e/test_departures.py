"""Bulk clients that leave: their places, their work and the end of the process are as if they had not come."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipserve.access.key_file import add_key
from clipserve.v1 import clip_pb2
from tests.rpc import raw
from tests.support.process import LIGHT, PATIENT, Process, metric, waited_until

pytestmark = pytest.mark.slow

_LINE = b'{"text": "a cat on a mat"}\n'
_MANY = 1_000_000 // len(_LINE)
_ROWS = 'clipserve_batch_rows_sum{tower="text"}'
ENDPOINT = "grpc EmbedStream"
_GONE = 'clipserve_requests_total{endpoint="%s",outcome="client_gone"}'


Served = tuple[Process, Iterator[str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service and keys that nobody has used. Clients wait for the rate when they leave."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    keys = [f"Bearer {add_key(file, f'bulk-{number}', ['use'])}" for number in range(8)]
    process = Process(keys_file=str(file), rows_per_second=1, max_bulk_requests=2, **LIGHT, **PATIENT)
    process.wait_ready()
    yield process, iter(keys)
    assert process.stop()[0] == 0


def until_it_stays(process: Process, series: str) -> float:
    """Its value once it has been the same for longer than a rate of one row a second has between two rows."""
    end, value = time.monotonic() + 300, -1.0
    while (now := metric(process, series)) != value:
        assert time.monotonic() < end, f"{series} still grows"
        value = now
        time.sleep(1.5)
    return value


def stream(authorization: str) -> bytes:
    message = clip_pb2.EmbedStreamRequest(text="a cat on a mat").SerializeToString()
    call = raw.call(1, "EmbedStream", authorization=authorization)
    return raw.PREFACE + raw.frame(raw.SETTINGS, 0, 0) + call + raw.message(1, message, end=False) * 1_000


def begun(url: str, wire: bytes) -> socket.socket:
    """A connection on which this is sent, as far as the server takes it at once."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    plug = socket.create_connection((host, int(port)))
    plug.settimeout(1)
    with contextlib.suppress(TimeoutError):
        plug.sendall(wire)
    return plug


def leave(plug: socket.socket, *, reset: bool) -> None:
    if reset:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plug.close()


@pytest.mark.parametrize("reset", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_who_leaves_gives_back_the_places_and_the_work(served: Served, reset: bool) -> None:
    process, keys = served
    gone, rows = _GONE % ENDPOINT, metric(process, _ROWS)
    before = metric(process, gone)
    plugs = [begun(process.rpc_address, stream(next(keys))) for _ in range(2)]
    waited_until(lambda: metric(process, _ROWS) >= rows + 2)
    for plug in plugs:
        leave(plug, reset=reset)
    waited_until(lambda: metric(process, gone) >= before + 2)  # a second is promised
    rows = metric(process, _ROWS)
    assert until_it_stays(process, _ROWS) - rows < _MANY // 10, "lines of who has left are still encoded"
    waited_until(lambda: metric(process, 'clipserve_rows_in_flight{tower="text"}') == 0)


def test_sigterm_waits_for_no_client_that_has_left(tmp_path: Path) -> None:
    key = f"Bearer {add_key(tmp_path / 'keys', 'bulk', ['use'])}"
    process = Process(
        keys_file=str(tmp_path / "keys"), rows_per_second=1, drain_seconds=60, **LIGHT, **PATIENT
    )
    process.wait_ready()
    plug = begun(process.rpc_address, stream(key))
    waited_until(lambda: metric(process, _ROWS) >= 1)
    leave(plug, reset=True)
    started = time.monotonic()
    assert process.stop()[0] == 0
    assert time.monotonic() - started < 30, "an idle one takes two seconds"
