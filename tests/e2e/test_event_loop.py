"""While the process works on a large request it answers others: each kind of body at its limit."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.abuse.measure import cpu_seconds
from tests.process import PATIENT_WITH_CLIENTS, Process, post

pytestmark = pytest.mark.slow

HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
FORM = "multipart/form-data; boundary=b"
BODIES = {
    "a form of what is nearly a boundary": (FORM, HEAD + b"\r\n--bX" * 2_850_000 + b"\r\n--b--"),
    "a form with white space behind a boundary": (FORM, HEAD + b"\r\n--b" + b" " * 19_900_000 + b"\r\n--b--"),
    "a form of parameters": (FORM, (HEAD[:-5] + b";" * 3_900 + b'"\r\n\r\n\r\n') * 4_000 + b"--b--"),
    "a form of line breaks": (FORM, HEAD + b"\r\n" * 9_900_000 + b"\r\n--b--"),
    "an image in base64": (
        "application/json",
        json.dumps({"images": [base64.b64encode(bytes(14_000_000)).decode()]}).encode(),
    ),
    "what is not base64 at its end": (
        "application/json",
        json.dumps({"images": ["A" * 19_000_000 + "!"]}).encode(),
    ),
    "texts in many pieces": ("application/json", json.dumps({"texts": ["a"] * 190_000}).encode()),
}


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    process = Process(backend="onnx", threads=0, **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process
    process.stop()


@pytest.mark.parametrize("body", BODIES)
def test_a_probe_does_not_wait_for_a_large_body(process: Process, body: str) -> None:
    """While its loop waits for a core, other threads may compute: the least of three looks counts."""
    assert any(seconds_beside(process, *BODIES[body]) < 0.5 for _ in range(3)), "0.05 are usual"


def seconds_beside(process: Process, content_type: str, content: bytes) -> float:
    """Most CPU seconds that the service used while a probe waited for its answer."""

    def send() -> None:
        with suppress(httpx.TransportError):  # it may be refused before all of it is sent
            post(process.url + "/embed", content=content, headers={"content-type": content_type}, timeout=300)

    sending = threading.Thread(target=send)
    pid, most = process.popen.pid, 0.0  # a busy machine makes an answer late, not costly
    with httpx.Client(timeout=300) as client:
        client.get(process.url + "/livez")
        sending.start()
        while sending.is_alive():
            before = cpu_seconds(pid)
            assert client.get(process.url + "/livez").status_code == 200
            most = max(most, cpu_seconds(pid) - before)
    return most
