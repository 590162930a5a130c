"""What serves is not made heavier by the commands beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import clipserve
from tests.support.process import ROOT, uncovered

# Loaded when a command runs that needs it.
HEAVY = ["httpx2", "sqlite3", "rich", "onnxruntime", "clipserve.wiring.use_cases"]
CHECKS = "clipserve.commands.doctor.findings"


def loaded(program: str, names: list[str]) -> str:
    """Those of `names` that the program loads in a process of its own."""
    program += f"\nimport sys; print([name for name in {names} if name in sys.modules])"
    # Coverage, which would follow into the process, keeps its own data in SQLite.
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=uncovered(), capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commands_load_what_they_need_when_they_run() -> None:
    command = CHECKS.replace("findings", "command")
    assert loaded("import clipserve.__main__", [*HEAVY, CHECKS, command]) == f"['{command}']"


def test_a_service_without_keys_redis_and_grpc_loads_none_of_them() -> None:
    program = "import clipserve.rest.app, clipserve.wiring.options, clipserve.wiring.serve"
    assert loaded(program, ["limits", "redis", "grpc", "fastapi"]) == "['fastapi']"


def test_the_apis_are_loaded_while_files_are_verified() -> None:
    assert loaded("import clipserve.wiring.serve", ["fastapi", "uvicorn", "openvino", "onnxruntime"]) == "[]"


def test_the_package_loads_nothing_until_it_is_asked_for_something() -> None:
    assert (
        loaded("import clipserve; clipserve.__version__", [*HEAVY, "clipserve.client", "numpy", "asyncio"])
        == "[]"
    )


def test_the_stub_names_what_is_loaded_late() -> None:
    stub = (ROOT / "service/clipserve/__init__.pyi").read_text()
    homes = re.findall(r"^from (clipserve\.client\.\w+) import (.+)", stub, re.MULTILINE)
    late = {name: module for module, names in homes for name in names.split(", ")}
    assert late.keys() == {*clipserve.__all__} - {"__version__"}
    for name, module in late.items():
        assert getattr(clipserve, name).__module__ == module


def test_only_the_command_tells_numpy_s_blas_how_many_threads_it_has() -> None:
    for module, threads in (("clipserve", None), ("clipserve.__main__", "1")):
        program = f"import os, {module}; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
        own = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        said = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True
        )
        assert said.stdout == f"{threads}\n"


def test_the_command_counts_in_its_memory_whatever_others_share(tmp_path: Path) -> None:
    program = "import clipserve.__main__; from clipserve.telemetry.metrics import Metrics; Metrics()"
    shared = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=shared, check=True)
    assert not [*tmp_path.iterdir()]
