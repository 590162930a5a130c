"""Odd requests at each route, on a real connection: each has an answer, an id and a line in the log."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from clipserve.settings import Settings
from clipserve.telemetry import log
from clipserve.wiring.gateway import open_gateway
from loadtests.fake_backend import FakeBackend
from tests.abuse.answers import http_answers
from tests.abuse.fuzz.odd_requests import Examples, odd_request
from tests.support import DIM, write_toy_artifact

_QUIET = (b"/livez", b"/readyz", b"/ping", b"/.well-known/")  # have no line in the log
_SECONDS = 20.0  # to notice a hang
_UNDOCUMENTED = (
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/docs/start.js"),
    ("GET", "/page/{name}"),
    ("GET", "/nowhere"),
)


class Unanswered(Exception):
    """A request without an answer, an id or a line in the log, or one that the service has not understood."""


class _Transport(asyncio.Transport):
    """Takes what is written, and is closed by the service."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = bytearray(), asyncio.Event()
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if name in ("socket", "sslcontext") else ("127.0.0.1", 1)

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = write_eof = close

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """A case arrives in one piece."""

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed.is_set()


class _Log(list[str]):
    write = list.append

    def isatty(self) -> bool:
        return False


class Answers:
    """See the module. A case is one request, as it goes over the wire."""

    def __init__(self) -> None:
        self._log = _Log()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        operations = st.sampled_from(self._runner.run(self._open()))
        self.cases = st.builds(lambda random, to: odd_request(random, *to), st.randoms(), operations)

    async def _open(self) -> list[tuple[str, str, Examples]]:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        await write_toy_artifact(folder / "toy")
        settings = Settings(
            models=(folder / "toy",), port=0, state_dir=folder, decode_processes=False, grpc_enabled=False
        )
        log.configure("CRITICAL")
        gateway = await self._stack.enter_async_context(open_gateway(settings, lambda *_: FakeBackend(DIM)))
        await gateway.warm_up()
        log.configure("INFO", self._log)
        self._connect: Callable[[], asyncio.Protocol] = gateway.server.connect
        self._requests = gateway.connections.tasks
        _, body = await self._answered(b"GET /openapi.json HTTP/1.0\r\n\r\n")
        paths = json.loads(body)["paths"]
        documented = [
            (method.upper(), path, _examples(operation))
            for path, methods in sorted(paths.items())
            for method, operation in sorted(methods.items())
        ]
        return [*documented, *((method, path, {}) for method, path in _UNDOCUMENTED)]

    def close(self) -> None:
        """End the service."""
        self._runner.run(self._stack.aclose())
        self._runner.close()
        log.configure("CRITICAL")

    def run(self, case: bytes) -> str:
        self._log.clear()
        head, body = self._runner.run(self._answered(case))
        status = head.split(" ", 2)[1]
        given = next(
            (line[14:] for line in head.split("\r\n") if line.lower().startswith("x-request-id: ")), None
        )
        lines = [line for line in map(orjson.loads, self._log) if line.get("request_id") == given]
        if given is None:
            raise Unanswered(f"status {status} without an id")
        if not any(line["event"] == "request" for line in lines) and not case.split(b" ")[1].startswith(
            _QUIET
        ):
            raise Unanswered(f"status {status} without a line in the log")
        if faults := [line for line in lines if line["level"] in ("error", "critical")]:
            raise Unanswered(f"status {status}: {faults[0]['exception'].splitlines()[-1]}")
        if status[0] == "5":
            raise Unanswered(f"status {status}")
        if b'"request_id"' in body and orjson.loads(body)["request_id"] != given:
            raise Unanswered("the id in the body is another")
        return status

    async def _answered(self, case: bytes) -> tuple[str, bytes]:
        """The head of the answer, and its body."""
        transport = _Transport()
        transport.protocol = self._connect()
        transport.protocol.connection_made(transport)
        transport.protocol.data_received(case)
        async with asyncio.timeout(_SECONDS):
            await transport.closed.wait()
            while self._requests:
                await asyncio.sleep(0)
        head = transport.written.partition(b"\r\n\r\n")[0].decode("latin-1")
        answer = http_answers(transport.written, bodiless=case.startswith(b"HEAD"))
        if answer is None:
            raise Unanswered("no answer")
        return head, answer.body


def _examples(operation: dict[str, Any]) -> Examples:
    found: Examples = {}
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        examples = [each["value"] for each in content.get("examples", {}).values() if "value" in each]
        if examples := [*examples, *([content["example"]] if "example" in content else [])]:
            found[media_type] = examples
    return found
