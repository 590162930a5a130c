"""`clipserve doctor --url`: a server that runs, asked over its REST port."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from clipserve.access.key_file import add_key
from loadtests.fake_backend import FakeBackend
from loadtests.process import free_port
from tests.certificates import self_signed
from tests.commands.doctor.asking import Told, doctor
from tests.commands.hostile import good_but
from tests.commands.hostile import serving as answering
from tests.support import DIM, serving


def of(told: Told, check: str) -> list[tuple[str, str]]:
    return [(line["level"], line["found"]) for line in told.lines() if line["name"] == check]


async def test_a_server_without_a_fault(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy) as running:
        told = await asyncio.to_thread(doctor, "--url", running.url)
        model = running.gateway.models[toy]
    assert (told.status, {line["level"] for line in told.lines()}) == (0, {"ok"}), told.output
    assert [each["name"] for each in told.lines()] == ["ready", "models"]
    assert told.report["examined"] == running.url
    assert not {"settings", "packages"} & told.report.keys()
    assert of(told, "models") == [("ok", f"toy: {model.fingerprint}")]


async def test_a_server_that_is_not_ready(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, warm=False) as running:
        told = await asyncio.to_thread(doctor, "--url", running.url)
    assert told.status == 1
    ((level, found),) = of(told, "ready")
    assert level == "problem"
    assert found.startswith(f"{running.url}/readyz: ")
    ((level, found),) = of(told, "models")
    assert level == "problem"
    assert found.endswith("is not ready")


async def test_a_server_that_asks_for_a_key(toy: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "somebody", ["use"])
    async with serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys") as running:
        without = await asyncio.to_thread(doctor, "--url", running.url)
        with_key = await asyncio.to_thread(doctor, "--url", running.url, key=key)
    assert "/v1/models: unauthenticated: " in without.only("problem")["found"]
    assert "--key" in without.only("problem")["found"]
    assert (with_key.status, of(with_key, "models")[0][0]) == (0, "ok")
    assert key not in with_key.output


def test_nobody_there_is_a_problem() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = doctor("--url", url)
    assert of(told, "ready") == [("problem", f"{url} cannot be asked: Connection refused")]
    assert "is a firewall between?" in told.lines()[0]["do"]
    assert of(told, "models")[0][0] == "problem"


def test_a_certificate_of_your_own(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "server", "IP:127.0.0.1")
    with answering(good_but({}), certificate) as (url, _):
        assert doctor("--url", url, "--ca-file", str(certificate)).status == 0
        line = doctor("--url", url).lines("problem")[0]
    assert "certificate" in line["found"]
    assert "--ca-file" in line["do"]


@pytest.mark.slow
def test_what_listens_and_never_answers_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        told = doctor("--url", url)
    assert time.monotonic() - began < 60
    assert "does not answer within 5 s" in told.lines("problem")[0]["found"]


@pytest.mark.parametrize("url", ["http://192.0.2.1", "HTTP://192.0.2.1:8080", "http://localhost@192.0.2.1"])
def test_a_key_without_tls_for_another_machine_is_a_problem_and_not_sent(url: str) -> None:
    line = doctor("--url", url, "--key", "cs_something").lines("problem")[0]
    assert line["found"].startswith("the key is not sent to 192.0.2.1 over http")
