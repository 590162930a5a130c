"""`clipserve doctor --url`: a server that runs, asked over its REST port."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
