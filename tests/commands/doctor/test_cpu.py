"""What the doctor finds of the CPU: features, and quotas that are planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.limits import cpu
from clipserve.commands.doctor.models import engines
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings


def proc_of(folder: Path, flags: str = "avx2 avx512f avx512_bf16", cgroup: str = "0::/\n") -> Path:
    """A folder like /proc."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: A CPU\nflags\t\t: {flags}\n")
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    return folder / "proc"


def context(proc: Path, cgroup: Path, **settings: object) -> Context:
    return Context(Settings(models=(DEMO,), **settings), proc=proc, cgroup=cgroup)  # type: ignore[arg-type]


def test_a_cpu_without_avx2(tmp_path: Path) -> None:
    _, finding = cpu(context(proc_of(tmp_path, "sse4_2 avx512_vnni"), tmp_path / "none", threads=1))
    assert (finding.level, finding.found) == ("warning", "it has no AVX2: encoders are several times slower")


def test_more_threads_than_cores(tmp_path: Path) -> None:
    *_, finding = cpu(context(proc_of(tmp_path), tmp_path / "none", threads=500, workers=2))
    assert finding.found.startswith("500 threads x 2 workers on ")
    assert "CLIPSERVE_THREADS" in str(finding.do)


@pytest.mark.slow
def test_openvino_on_a_cpu_without_bf16(tmp_path: Path) -> None:
    def found(flags: str) -> list[str]:
        made = context(proc_of(tmp_path / flags, flags), tmp_path / "none", backend="openvino")
        return [each.found for each in engines(made) if each.level == "warning"]

    (warned,) = found("avx2 avx512f")
    assert "CLIPSERVE_BACKEND=openvino for demo is for CPUs with bf16, and this CPU has none" in warned
    assert found("avx2 avx512_bf16") == []


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}),
        ("0::/system.slice/clip.service\n", {"system.slice/clip.service/cpu.max": "50000 100000\n"}),
        ("0::/system.slice/clip.service\n", {"system.slice/cpu.max": "50000 100000\n"}),
        ("4:cpu:/docker/1\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
    ],
)
def test_a_quota_of_half_a_core(tmp_path: Path, cgroup: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (name,) = {each for each in files if "period" not in each}
    made = context(proc_of(tmp_path, cgroup=cgroup), tmp_path / "cgroup", threads=1)
    (warned,) = (each for each in cpu(made) if each.level != "ok")
    folder = (tmp_path / "cgroup" / name).parent
    folder = folder.parent if folder.name == "cpu" else folder
    assert f"the quota of {folder} is 0.5 cores, less than one" in warned.found
    assert "resources.limits.cpu" in str(warned.do)
