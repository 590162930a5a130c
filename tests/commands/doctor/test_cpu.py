"""What the doctor finds of the CPU: features, and quotas that are planted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.cpu import cpu
from clipserve.commands.doctor.machine import Machine
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from tests.commands.doctor.asking import doctor_process


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
