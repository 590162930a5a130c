"""`clipserve doctor --url`: a server that runs, examined over its ports."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clipserve.access.key_file import add_key
from clipserve.commands.doctor.table import THERE
from clipserve.engine.backend import Embeddings, Pixels
from clipserve.operations.page import Page
from clipserve.operations.port import serving as serving_operations
from clipserve.operations.pulse import Pulse
from clipserve.rest.errors import rendered
from clipserve.wiring.listening import listen
from loadtests.fake_backend import FakeBackend
from loadtests.process import free_port
from tests.commands import hostile
from tests.commands.doctor.asking import Told, doctor
from tests.commands.doctor.http import answering
from tests.process import Process
from tests.support import DIM, Running, png, serving, write_toy_artifact


@pytest.fixture
async def toy(tmp_path: Path) -> Path:
    return await write_toy_artifact(tmp_path / "toy")


@asynccontextmanager
async def with_operations(running: Running) -> AsyncIterator[str]:
    """Its operations port, as the process opens it; the URL."""
    listener = listen("CLIPSERVE_OPERATIONS_PORT", "127.0.0.1", 0)
    gateway = running.gateway
    page = Page(Pulse(), gateway.metrics.registry, 10, rendered)
    async with serving_operations(listener, page, gateway.inference.ready):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def of(told: Told, check: str) -> list[tuple[str, str]]:
    return [(line["level"], line["found"]) for line in told.lines() if line["check"] == check]


async def test_a_server_without_a_fault(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy) as running, with_operations(running) as operations:
        told = await asyncio.to_thread(doctor, "--url", running.url, "--operations-url", operations)
        model = running.gateway.models[toy]
    assert (told.status, {line["level"] for line in told.lines()}) == (0, {"ok"}), told.output
    assert [each["name"] for each in told.report["checks"]] == [check.name for check in THERE]
    assert told.report["examined"] == running.url
    assert of(told, "models") == [("ok", f"toy: {model.fingerprint}")]
    assert of(told, "load")[0][1].startswith("it sheds no load now; 0.00 s of work ahead")
    assert of(told, "clock") == [("ok", "the clock agrees with that of the server within 5 s")]


async def test_a_server_that_is_not_ready(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, warm=False) as running:
        told = await asyncio.to_thread(doctor, "--url", running.url)
    assert told.status == 1
    assert f"{running.url}/readyz is 503: " in of(told, "probes")[1][1]
    assert of(told, "models")[0][0] == "problem"
    assert of(told, "models")[0][1].endswith("is not ready")


async def test_a_server_that_asks_for_a_key(toy: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "somebody", ["use"])
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as running:
        without = await asyncio.to_thread(doctor, "--url", running.url, "--only", "models")
        with_key = await asyncio.to_thread(doctor, "--url", running.url, "--only", "models", key=key)
    assert without.only("problem")["found"].startswith("GET /v1/models: unauthenticated: ")
    assert "--key" in without.only("problem")["do"]
    assert (with_key.status, of(with_key, "models")[0][0]) == (0, "ok")
    assert key not in with_key.output


class Slow(FakeBackend):
    """A tenth of a second for each image."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        await asyncio.sleep(0.1 * len(pixels))
        return await super().encode_image(pixels)


async def test_a_server_that_sheds_load(toy: Path) -> None:
    async with (
        serving(Slow(DIM), toy, max_queue_seconds=0.05) as running,
        with_operations(running) as operations,
    ):

        async def flood() -> None:
            while True:
                await asyncio.gather(*(running.embed(png(seed)) for seed in range(4)))

        flooding = asyncio.create_task(flood())
        told = await asyncio.to_thread(
            doctor, "--url", running.url, "--operations-url", operations, "--only", "load"
        )
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    line = told.only("warning")
    assert told.status == 0
    assert line["found"].startswith("it sheds load now, ")
    assert "docs/capacity.md" in line["do"]


def test_nobody_there_is_one_problem_and_the_rest_is_not_asked() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = doctor("--url", url, operations_port=0)
    assert [line["found"] for line in told.lines("problem")] == [f"{url} cannot be asked: Connection refused"]
    assert "probes" not in {each["name"] for each in told.report["checks"]}
    assert of(doctor("--url", url, "--only", "probes"), "probes")[0][0] == "problem"


def test_an_operations_port_that_was_named_must_answer() -> None:
    with answering() as url:
        named = f"http://127.0.0.1:{free_port()}"
        told = doctor("--url", url, "--operations-url", named, "--only", "operations")
        assert told.only("problem")["found"] == f"{named} cannot be asked: Connection refused"


@pytest.mark.slow
def test_what_listens_and_never_answers_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        told = doctor("--url", url, "--only", "address")
        assert time.monotonic() - began < 50
    assert told.only("problem")["found"] == f"{url} does not answer within 5 s"


@pytest.mark.parametrize("ahead", [-60.0, 60.0])
def test_a_server_whose_clock_is_off(ahead: float) -> None:
    with answering(ahead) as url:
        line = doctor("--url", url, "--only", "clock").only("problem")
    side = "behind" if ahead > 0 else "ahead of"
    assert line["found"] in {
        f"this machine's clock is {each} s {side} that of the server" for each in (59, 60, 61)
    }


def certificate(folder: Path, *options: str) -> Path:
    """Signed by itself, for localhost."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *options, "-addext",
         "subjectAltName=DNS:localhost", "-keyout", folder / "server.key", "-out", folder / "server.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "server.pem"


def test_a_certificate_that_ends_soon(tmp_path: Path) -> None:
    file = certificate(tmp_path, "-days", "5")
    with answering(certificate=file) as url:
        told = doctor("--url", url, "--ca-file", str(file), "--only", "tls", "--only", "address")
        stranger = doctor("--url", url, "--only", "tls", "--only", "address")
        shouted = doctor("--url", url.replace("https", "HTTPS"), "--only", "address")
    assert "the certificate is valid for 5 days more" in told.only("warning")["found"]
    assert [line["check"] for line in stranger.lines("problem")] == ["tls", "address"]
    assert "is not accepted: self-signed certificate" in of(stranger, "tls")[0][1]
    assert "self-signed certificate" in shouted.only("problem")["found"]


def test_a_certificate_that_has_ended(tmp_path: Path) -> None:
    file = certificate(tmp_path, "-not_before", "20240101000000Z", "-not_after", "20240201000000Z")
    with answering(certificate=file) as url:
        told = doctor("--url", url, "--ca-file", str(file), "--only", "tls")
    assert told.only("problem")["found"].endswith("is not accepted: certificate has expired")


def test_a_key_without_tls_is_a_warning() -> None:
    with answering() as url:
        line = doctor("--url", url, "--only", "tls", "--key", "cs_something").only("warning")
    assert line["found"] == "not encrypted: the key travels as it is"


@pytest.mark.parametrize("url", ["http://192.0.2.1", "HTTP://192.0.2.1:8080", "http://localhost@192.0.2.1"])
def test_a_key_without_tls_for_another_machine_is_a_problem_and_not_sent(url: str) -> None:
    line = doctor("--url", url, "--only", "tls", "--key", "cs_something").only("problem")
    assert line["found"] == "not encrypted: the key is not sent to it, for it could be read on the way"


def test_a_version_that_is_not_told_is_no_fault_of_the_doctor() -> None:
    with answering() as url:
        line = doctor("--url", url, "--only", "version").only("problem")
    assert "something that is not clipserve's: info: Field required" in line["found"]
    with hostile.serving(hostile.good_but({})) as (url, _):
        assert doctor("--url", url, "--only", "version").only("problem")["found"] == "HTTP 404: {}"


@pytest.mark.slow
def test_a_process_on_its_own_ports() -> None:
    process = Process(backend="onnx", threads=1)
    process.wait_ready()
    told = doctor("--url", process.url, "--operations-url", process.operations_url)
    assert (told.status, told.lines("problem"), told.lines("warning")) == (0, [], [])
    assert httpx.get(process.url + "/v1/models").json()["data"][0]["fingerprint"] in of(told, "models")[0][1]
    process.stop()
