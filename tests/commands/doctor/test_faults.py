"""Faults of ports, artifacts and Triton that are planted: the doctor names each, and says what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from clipserve.engine.triton.contract import FINGERPRINT
from loadtests.process import fake_triton, free_port
from tests.commands.doctor.asking import doctor
from tests.process import ROOT, copy_of_demo, waited_until
from tests.triton.stand_in import MANIFEST, StandIn, standing_in


@pytest.fixture
async def triton() -> AsyncIterator[StandIn]:
    async with standing_in() as made:
        yield made


def test_a_port_that_is_taken_and_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = doctor("--only", "ports", port=port, grpc_port=0, operations_port=0)
    line = told.only("problem")
    assert told.status == 1
    said = (
        f"CLIPSERVE_PORT={port}: cannot listen on 127.0.0.1: address already in use: process {os.getpid()} ("
    )
    assert line["found"].startswith(said)
    assert "set CLIPSERVE_PORT to another port" in line["do"]


def test_two_ports_that_are_the_same() -> None:
    port = free_port()
    line = doctor("--only", "ports", port=port, grpc_port=0, operations_port=port).only("problem")
    assert line["found"] == f"CLIPSERVE_PORT, CLIPSERVE_OPERATIONS_PORT are all {port}"


def test_a_graph_that_was_cut_short(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    graph = copy / "image.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    told = doctor("--only", "models", models=copy)
    assert told.status == 1
    assert f"{graph} has SHA-256" in told.only("problem")["found"]
    assert "copy it again" in told.only("problem")["do"]


def test_a_model_that_is_missing(tmp_path: Path) -> None:
    told = doctor("--only", "models", models=f"{DEMO},{tmp_path / 'nothing'}")
    line = told.only("problem")
    assert told.status == 1
    assert line["found"].startswith(f"{tmp_path / 'nothing'} is not an artifact: there is no such folder. ")
    assert "CLIPSERVE_MODELS" in line["do"]


def test_a_name_that_may_be_misspelt_is_not_promised_to_be_made(tmp_path: Path) -> None:
    line = doctor("--only", "models", models="ViT-B-31", cache_dir=tmp_path).only("problem")
    assert line["found"] == f"ViT-B-31 is neither a folder nor a model in {tmp_path}"
    assert line["do"].startswith("if `clipserve models list` has it")
    assert line["do"].endswith("if not, correct the name")


async def test_a_triton_that_serves_something_else(triton: StandIn) -> None:
    triton.state(FINGERPRINT, "other@fp32-0123456789ab")
    told = await asyncio.to_thread(doctor, "--only", "triton", backend="triton", triton_url=triton.url)
    line = told.only("problem")
    assert told.status == 1
    assert "Triton's model demo_image is other@fp32-0123456789ab" in line["found"]
    assert f"this gateway has {MANIFEST.fingerprint()}" in line["found"]
    assert "serve the same artifact at both" in line["do"]


def test_a_triton_that_is_not_there() -> None:
    url = f"127.0.0.1:{free_port()}"
    line = doctor("--only", "triton", backend="triton", triton_url=url).only("problem")
    assert line["found"].startswith(f"Triton at {url} cannot be asked")
    assert "CLIPSERVE_TRITON_URL" in line["do"]


@pytest.mark.slow
def test_a_triton_that_serves_the_artifact_is_no_fault() -> None:
    with fake_triton(DEMO) as made:
        told = doctor("--only", "triton", backend="triton", triton_url=made.url, models=made.artifact)
    assert (told.status, [line["level"] for line in told.lines()]) == (0, ["ok", "ok"])
    assert "self-test at cosine 1.000000" in told.lines()[1]["found"]


def trials_of(pid: int) -> list[int]:
    """Processes that try engines for this one."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and b"doctor.trial" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
    return found


@pytest.mark.slow
def test_a_doctor_that_is_killed_leaves_no_trial_behind() -> None:
    command = [sys.executable, "-m", "clipserve", "doctor", "--only", "engines"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        trials: list[int] = []

        def tries() -> bool:
            trials[:] = trials_of(process.pid)  # a moment later it may have ended them, or begun another one
            return bool(trials)

        waited_until(tries)
        process.kill()
    waited_until(lambda: not any(Path(f"/proc/{trial}/cmdline").exists() for trial in trials))


@pytest.mark.slow
def test_a_graph_that_no_engine_reads(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    (copy / "text.onnx").write_bytes(b"nothing")
    told = doctor("--only", "engines", models=copy, backend="onnx")
    assert "onnxruntime cannot load" in told.only("problem")["found"]
