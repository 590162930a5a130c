"""`clipserve doctor` on this machine: a start without serving, and what a start cannot say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.access.key_file import add_key
from clipserve.commands.doctor import findings
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from loadtests.process import free_port
from tests.commands.doctor.asking import doctor
from tests.commands.hostile import body, good_but, serving
from tests.process import ROOT, copy_of_demo, waited_until

READY = {
    "event": "model_ready", "level": "info", "fingerprint": "demo@fp32-1", "engine": "onnxruntime",
    "precision": "fp32", "ms_per_call": 6.1, "self_test_cosine": 1.0,
}  # fmt: skip


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that has gone well, for what it cannot say."""
    monkeypatch.setattr(findings, "start", lambda: (json.dumps(READY), 0))


PORTS = {"port": 0, "grpc_port": 0, "operations_port": 0}


def test_a_machine_without_a_fault_has_no_problem(tmp_path: Path) -> None:
    told = doctor(backend="onnx", threads=1, state_dir=tmp_path, **PORTS)
    assert (told.status, told.lines("problem")) == (0, []), told.output
    assert (told.report["format"], told.report["examined"]) == (2, "this machine")
    assert told.report["settings"].keys() == Settings.model_fields.keys()
    assert "numpy" in told.report["packages"]
    (ready,) = (line["found"] for line in told.lines() if line["name"] == "start" and line["level"] == "ok")
    assert " on onnxruntime in fp32: " in ready
    assert "self-test at cosine 1.0000" in ready
    (memory,) = (line["found"] for line in told.lines() if line["name"] == "memory")
    assert "; the start took " in memory
    told_of = {line["name"] for line in told.lines()}
    assert told_of == {"versions", "cpu", "ports", "start", "memory"}


def cut_short(folder: Path) -> dict[str, object]:
    copy = copy_of_demo(folder)
    (copy / "image.onnx").write_bytes((copy / "image.onnx").read_bytes()[:-100])
    return {"models": copy}


def keys_that_are_none(folder: Path) -> dict[str, object]:
    (folder / "keys").write_text("no line of a key")
    return {"keys_file": folder / "keys"}


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        pytest.param(cut_short, "image.onnx has SHA-256", id="graph"),
        pytest.param(keys_that_are_none, "keys", id="keys"),
        pytest.param(
            lambda _: {"backend": "triton", "triton_url": f"127.0.0.1:{free_port()}"}, "riton", id="Triton"
        ),
    ],
)
def test_a_fault_that_a_start_tells_is_a_line(plant, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    told = doctor(**{"backend": "onnx", **PORTS, **plant(tmp_path)})
    lines = [line for line in told.lines() if line["name"] == "start" and line["level"] != "ok"]
    assert said in str(lines), told.output
    assert all(line["do"] for line in lines)


@pytest.mark.parametrize(
    ("said", "status", "level", "found"),
    [
        pytest.param(
            json.dumps({"event": "gpu_not_used", "level": "warning", "reason": "no driver", "do": "install one"}),
            0, "warning", "gpu_not_used; reason: no driver", id="warning",
        ),
        pytest.param("", -9, "problem", "the start was ended by SIGKILL", id="killed"),
        pytest.param("Traceback\nOSError: no", 1, "problem", "ended with status 1: OSError: no", id="crashed"),
    ],
)  # fmt: skip
def test_how_a_start_ends_is_told(said: str, status: int, level: str, found: str) -> None:
    (line,) = findings.of_start(said, status)
    assert line.level == level
    assert found in line.found
    assert line.do


def test_a_doctor_that_is_killed_leaves_no_start_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clipserve", "doctor"]
    children = tmp_path / "children"
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        waited_until(lambda: bool(children.read_text()))
        (child,) = children.read_text().split()
        process.kill()
    waited_until(
        lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes()
    )


def test_settings_that_are_wrong_are_told_as_a_start_tells_them() -> None:
    told = doctor(prot="1")
    assert told.only("problem")["found"].startswith(
        "CLIPSERVE_PROT is not a setting: did you mean CLIPSERVE_PORT?"
    )
    assert "settings" not in told.report


def test_a_port_that_is_taken_and_who_has_it(no_start: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = doctor(**PORTS | {"port": port}).only("problem")
    said = (
        f"CLIPSERVE_PORT={port}: cannot listen on 127.0.0.1: address already in use: process {os.getpid()} ("
    )
    assert line["found"].startswith(said)
    assert "set CLIPSERVE_PORT to another port" in line["do"]
    port = free_port()
    line = doctor(**PORTS | {"port": port, "operations_port": port}).only("problem")
    assert f"CLIPSERVE_OPERATIONS_PORT={port}: " in line["found"]
    assert f"process {os.getpid()} (" in line["found"]


@pytest.mark.parametrize(
    ("names", "mode", "said", "do"),
    [
        pytest.param(["a"], 0o666, "can be written by others than its owner", "chmod go-w", id="mode"),
        pytest.param([], 0o600, "has no key: every request is refused", "clipserve keys add", id="none"),
    ],
)
def test_the_file_of_keys(
    names: list[str], mode: int, said: str, do: str, no_start: None, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.touch()
    for name in names:
        add_key(file, name, ["use"])
    file.chmod(mode)
    line = doctor(**PORTS, keys_file=file).only("warning")
    assert said in line["found"]
    assert do in line["do"]


@pytest.mark.parametrize(
    ("answer", "level"), [(body([]), "warning"), (body({}, 503), "problem")], ids=["there", "away"]
)
def test_a_model_that_is_not_here_and_the_hub(  # type: ignore[no-untyped-def]
    answer, level: str, no_start: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(good_but({"/api/models": answer})) as (url, _):
        monkeypatch.setattr(findings, "_HUB", url)
        told = doctor(**PORTS, models=f"{DEMO},ViT-B-31", cache_dir=tmp_path)
    lines = [line for line in told.lines() if line["name"] == "hub"]
    assert lines[0]["found"].startswith(
        f"ViT-B-31 is neither a folder nor a model in {tmp_path}, and the doctor"
    )
    assert lines[-1]["level"] == level


@pytest.mark.parametrize(
    ("file", "limit", "level"),
    [
        ("memory.max", "max", "ok"),
        ("memory.max", "1000000000", "warning"),
        ("memory/memory.limit_in_bytes", "1000000000", "warning"),
    ],
)
def test_memory_is_compared_with_the_lowest_limit(
    file: str, limit: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}.__getitem__)
    (tmp_path / "memory").mkdir()
    (tmp_path / file).write_text(f"{limit}\n")
    said = json.dumps({"event": "started", "peak_bytes": 300_000_000})
    (line,) = findings.memory(Settings(models=(DEMO,)), said, tmp_path)
    assert line.level == level
    assert ("1,000 MB" if level == "warning" else "the machine has 8,192 MB") in line.found


def test_a_quota_of_half_a_core(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    _, line = findings.cpu(Settings(models=(DEMO,)), tmp_path)
    assert f"the quota of {tmp_path} is 0.5 cores" in line.found


def test_people_get_columns_and_programs_tabs(no_start: None) -> None:
    told = CliRunner().invoke(cli, ["doctor"], env={f"CLIPSERVE_{name.upper()}": "0" for name in PORTS})
    lines = told.stdout.splitlines()
    assert lines[0].startswith("ok\tversions\tclipserve ")
    assert lines[-1].startswith("problems: 0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "localhost:8080"], "--url: write http://host:port"),
        (["--ca-file", __file__], "--ca-file is for --url"),
    ],
)
def test_wrong_use_is_status_2(words: list[str], said: str) -> None:
    told = CliRunner().invoke(cli, ["doctor", *words])
    assert (told.exit_code, said in told.stderr) == (2, True)
