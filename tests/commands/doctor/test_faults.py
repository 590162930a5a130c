"""Faults that are planted: the doctor names each, and says what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from loadtests.process import fake_triton, free_port
from service.access.key_file import add_key
from service.commands.doctor.context import Context
from service.commands.doctor.cpu import cpu
from service.commands.doctor.machine import Machine
from service.engine.triton.contract import FINGERPRINT
from service.settings import Settings
from tests.commands.doctor.asking import doctor, doctor_process
from tests.commands.doctor.http import answering
from tests.process import DEMO, ROOT, copy_of_demo
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
    assert (
        f"CLIPSERVE_PORT={port}: cannot listen on 127.0.0.1: address already in use: process" in line["found"]
    )
    assert f"process {os.getpid()} (" in line["found"]
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
    assert (told.status, line["found"].partition(": ")[0]) == (
        1,
        f"{tmp_path / 'nothing'} is not an artifact",
    )
    assert "CLIPSERVE_MODELS" in line["do"]


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


def proc_of(folder: Path, flags: str = "avx2 avx512f avx512_bf16", cgroup: str = "0::/\n") -> Path:
    """A folder like /proc."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A CPU\nflags\t\t: {flags}\n")
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    return folder / "proc"


def found_by_cpu(machine: Machine, **settings: object) -> list[tuple[str, str, str | None]]:
    chosen = Settings(models=(DEMO,), **settings)  # type: ignore[arg-type]
    return [(each.level, each.found, each.do) for each in cpu(Context(chosen, machine=machine))]


def test_openvino_on_a_cpu_without_bf16(tmp_path: Path) -> None:
    machine = Machine(proc_of(tmp_path, "avx2 avx512f avx512_vnni"), tmp_path / "none")
    first, (level, found, do) = found_by_cpu(machine, backend="openvino")
    assert "A CPU: avx2, avx512, vnni" in first[1]
    assert level == "warning"
    assert "CLIPSERVE_BACKEND=openvino for demo is for CPUs with bf16, and this CPU has none" in found
    assert "CLIPSERVE_BACKEND=auto" in str(do)
    assert len(found_by_cpu(machine, backend="auto")) == 1
    with_bf16 = Machine(proc_of(tmp_path / "other"), tmp_path / "none")
    assert len(found_by_cpu(with_bf16, backend="openvino")) == 1


@pytest.mark.slow
def test_the_command_sees_a_cpu_without_bf16(tmp_path: Path) -> None:
    flags = " ".join(sorted(Machine().cpu_flags() - {"avx512_bf16", "amx_bf16", "bf16"}))
    other = proc_of(tmp_path, flags) / "cpuinfo"
    mount = f'mount --bind {other} /proc/cpuinfo && exec "$@"'
    enter = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs a privilege that this process does not have")
    told = doctor_process("--only", "cpu", prefix=enter, backend="openvino")
    assert "CLIPSERVE_BACKEND=openvino for demo" in told.only("warning")["found"]


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}),
        ("0::/system.slice/clip.service\n", {"system.slice/clip.service/cpu.max": "50000 100000\n"}),
        ("0::/system.slice/clip.service\n", {"system.slice/cpu.max": "50000 100000\n"}),
        (
            "4:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        ),
    ],
)
def test_a_quota_of_half_a_core(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (name,) = {each for each in files if "period" not in each}
    machine = Machine(proc_of(tmp_path, cgroup=cgroup), tmp_path / "cgroup")
    told = [each for each in found_by_cpu(machine, threads=1) if each[0] != "ok"]
    folder = (tmp_path / "cgroup" / name).parent
    assert [level for level, _, _ in told] == ["warning"]
    assert f"the quota of {folder} is 0.5 cores, less than one" in told[0][1]
    assert "resources.limits.cpu" in str(told[0][2])


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A real cgroup (v1) with half a core."""
    folder = Path(f"/sys/fs/cgroup/cpu/clipserve-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("50000")
    except OSError:
        pytest.skip("a cgroup with a quota cannot be made here")
    yield folder
    folder.rmdir()


@pytest.mark.slow
def test_a_real_quota_of_half_a_core(half_a_core: Path) -> None:
    enter = ("sh", "-c", f'echo $$ > {half_a_core}/cgroup.procs && exec "$@"', "sh")
    told = doctor_process("--only", "cpu", prefix=enter, threads=1, decode_threads=1)
    assert f"the quota of {half_a_core} is 0.5 cores" in told.only("warning")["found"]


@pytest.mark.parametrize(
    ("settings", "meanwhile"),
    [
        ({"keys_file": "FILE"}, "each gateway counts rates alone"),
        ({"label_set_store": "redis"}, "no label set can be read or put"),
    ],
)
def test_a_redis_that_is_not_there(tmp_path: Path, settings: dict[str, str], meanwhile: str) -> None:
    add_key(tmp_path / "keys", "camera", ["use"])
    chosen = {name: value.replace("FILE", str(tmp_path / "keys")) for name, value in settings.items()}
    port = free_port()
    told = doctor("--only", "redis", redis_url=f"redis://:a-password@127.0.0.1:{port}/0", **chosen)
    line = told.only("problem")
    assert told.status == 1
    assert line["found"].startswith(f"Redis at redis://127.0.0.1:{port}/0 cannot be asked: Error 111")
    assert meanwhile in line["do"]
    assert "a-password" not in told.output


def test_a_process_that_may_open_64_files() -> None:
    told = doctor_process("--only", "files", prefix=("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"))
    line = told.only("problem")
    assert told.status == 1
    assert line["found"] == "a process may open 64 files; 256 are needed besides connections, 1,280 in all"
    assert "ulimit -Hn 1280" in line["do"]


@pytest.mark.slow
def test_fewer_files_than_connections_are_a_warning() -> None:
    told = doctor_process("--only", "files", prefix=("sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh"))
    assert told.status == 0
    assert "512 connections of each front need 1,280" in told.only("warning")["found"]


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"name": "camera"}\n', "line 1: sha256: Field required"), ("cs_a-real-key-by-mistake\n", "line 1: ")],
)
def test_a_file_of_keys_that_is_spoilt(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    told = doctor("--only", "keys", keys_file=file)
    assert told.status == 1
    assert f"{file}, {said}" in told.only("problem")["found"]
    assert "clipserve keys add" in told.only("problem")["do"]
    assert "a-real-key" not in told.output


def test_a_file_of_keys_that_others_may_write(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "camera", ["use"])
    assert doctor("--only", "keys", keys_file=tmp_path / "keys").status == 0
    (tmp_path / "keys").chmod(0o666)
    line = doctor("--only", "keys", keys_file=tmp_path / "keys").only("warning")
    assert line["do"] == f"chmod go-w {tmp_path / 'keys'}"


def test_an_open_service_without_keys() -> None:
    assert "it listens on 0.0.0.0" in doctor("--only", "keys", host="0.0.0.0").only("warning")["found"]


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_clock_that_is_not_the_collector_s(ahead: float) -> None:
    with answering(ahead) as url:
        told = doctor("--only", "clock", otlp_endpoint=url)
    line = told.only("problem")
    assert told.status == 1
    assert f"s {'behind' if ahead > 0 else 'ahead of'} that of the collector of traces" in line["found"]
    assert "NTP" in line["do"]


def test_a_clock_that_is_the_collector_s_is_no_fault() -> None:
    with answering() as url:
        assert doctor("--only", "clock", otlp_endpoint=url).status == 0


def test_a_clock_that_is_before_a_file_was_made(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    later = time.time() + 3 * 86_400
    os.utime(copy / "model.json", (later, later))
    line = doctor("--only", "clock", models=copy).only("problem")
    assert f"before {copy / 'model.json'} was made" in line["found"]


def test_settings_that_cannot_be_are_lines_and_the_other_checks_go_on() -> None:
    told = doctor(
        "--only",
        "settings",
        "--only",
        "keys",
        port="http",
        workers="0",
        model_settings="{",
        keys_file="/nowhere/keys",
    )
    found = [line["found"] for line in told.lines("problem")]
    assert told.status == 1
    assert any(each.startswith("CLIPSERVE_PORT='http': ") for each in found)
    assert any(each.startswith("CLIPSERVE_WORKERS='0': ") for each in found)
    assert any("must be JSON is not" in each for each in found)
    assert "/nowhere/keys: no such file or directory." in found


def test_a_setting_that_needs_one_that_is_wrong_does_not_stop_it() -> None:
    told = doctor("--only", "settings", keys_file="", rows_per_second="many", metrics_open="false")
    assert told.status == 1


def test_settings_that_several_processes_cannot_share() -> None:
    line = doctor("--only", "settings", processes=2, backend="onnx").only("problem")
    assert line["found"].startswith("CLIPSERVE_PROCESSES=2 is for encoders on Triton")


def test_an_unknown_variable_and_what_was_meant() -> None:
    line = doctor("--only", "variables", prot="a-secret-by-mistake").only("warning")
    assert line["found"] == "CLIPSERVE_PROT is no setting, and is ignored"
    assert "did you mean CLIPSERVE_PORT?" in line["do"]


def test_variables_of_commands_are_not_unknown() -> None:
    assert doctor("--only", "variables", url="http://localhost:8080", key="k").status == 0


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
    command = [sys.executable, "-m", "service", "doctor", "--only", "engines"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        waited_until(lambda: bool(trials_of(process.pid)))
        (trial,) = trials_of(process.pid)
        process.kill()
    waited_until(lambda: not Path(f"/proc/{trial}/cmdline").exists())


def waited_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_graph_that_no_engine_reads(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    (copy / "text.onnx").write_bytes(b"nothing")
    told = doctor("--only", "engines", models=copy, backend="onnx")
    assert "onnxruntime cannot load" in told.only("problem")["found"]
