"""The command `clipserve`, as it is installed."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

import clipserve.__main__
from clipserve.settings import as_markdown
from loadtests.process import free_port
from tests.support.process import waited_until

COMMAND = Path(sys.executable).parent / "clipserve"
PORTS = ("CLIPSERVE_PORT", "CLIPSERVE_GRPC_PORT", "CLIPSERVE_OPERATIONS_PORT")
ENVIRONMENT = {"PATH": os.environ["PATH"], "COLUMNS": "200", **dict.fromkeys(PORTS, "0")}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with packages of the same names, which must not run."""
    folder = tmp_path / "elsewhere"
    for name in ("clipserve", "clipserve_models"):
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text("raise SystemExit('the wrong package')")
    return folder


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_another_directory_s_packages_are_not_run(elsewhere: Path) -> None:
    settings = run("settings", cwd=elsewhere)
    assert (settings.returncode, settings.stdout) == (0, as_markdown() + "\n"), settings.stderr
    models = run("models", "list", cwd=elsewhere)
    assert (models.returncode, models.stdout.split()[0]) == (0, "NAME"), models.stderr


def test_without_the_package_of_models_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = importlib.metadata.EntryPoints()
    monkeypatch.setattr(clipserve.__main__, "entry_points", lambda **_: nothing)
    result = CliRunner().invoke(clipserve.__main__.cli, ["models", "export", "--help"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "clipserve models is a package of its own: pip install clipserve-models\n"


def test_without_an_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, engine, None)
    words = ["classify", "docs/cat.jpg", "--labels", "a,b"]
    done = CliRunner().invoke(clipserve.__main__.cli, words)
    assert done.exit_code == 1
    assert "pip install clipserve, or" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_command_serves_until_a_signal(elsewhere: Path) -> None:
    port = free_port()
    chosen = {
        "CLIPSERVE_BACKEND": "onnx",
        "CLIPSERVE_DECODE_PROCESSES": "false",
        "CLIPSERVE_PORT": str(port),
        "CLIPSERVE_OPERATIONS_PORT": "0",
        "CLIPSERVE_GRPC_ENABLED": "false",
    }
    process = subprocess.Popen(COMMAND, cwd=elsewhere, env=ENVIRONMENT | chosen, stderr=subprocess.DEVNULL)
    try:
        waited_until(lambda: process.poll() is not None or _alive(port))
        assert process.poll() is None
        process.terminate()
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", verify=False).is_success
    except httpx.TransportError:
        return False
