"""`clipserve`, the launcher: a checkout that is used from other directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from clipserve.settings_table import as_markdown
from loadtests.process import free_port

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PATH": os.environ["PATH"], "COLUMNS": "200"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This checkout's code and this Python's environment, with a copy of the launcher."""
    folder = tmp_path / "check out"  # a space must not break it
    folder.mkdir()
    shutil.copy(ROOT / "clipserve", folder)
    for name in ("service", "models", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory with packages of the same names, which must not run."""
    folder = tmp_path / "elsewhere"
    for name in ("service", "models"):
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text("raise SystemExit('the wrong package')")
    return folder


def run(launcher: Path, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [launcher, *arguments],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_another_directory_s_packages_are_not_run(checkout: Path, elsewhere: Path) -> None:
    settings = run(checkout / "clipserve", "settings", cwd=elsewhere)
    assert (settings.returncode, settings.stdout) == (0, as_markdown() + "\n"), settings.stderr
    models = run(checkout / "clipserve", "models", "list", cwd=elsewhere)
    assert (models.returncode, models.stdout.split()[0]) == (0, "NAME"), models.stderr


def test_a_package_of_the_same_name_on_pythonpath_is_not_run(checkout: Path, elsewhere: Path) -> None:
    result = run(checkout / "clipserve", "settings", cwd=checkout, PYTHONPATH=str(elsewhere))
    assert result.returncode == 0, result.stderr


def test_links_to_it_find_the_checkout(checkout: Path, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "first").symlink_to(checkout / "clipserve")
    (tmp_path / "bin/clipserve").symlink_to("../first")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-c", "clipserve settings"],
        cwd=elsewhere,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, as_markdown() + "\n"), result.stderr


def test_paths_are_those_of_the_caller(checkout: Path, elsewhere: Path) -> None:
    (elsewhere / "mine").symlink_to(ROOT / "models/demo")
    result = run(checkout / "clipserve", "models", "verify", "mine", cwd=elsewhere)
    assert (result.returncode, result.stdout.partition("@")[0]) == (0, "demo"), result.stderr


def test_without_an_environment_it_says_what_to_do(checkout: Path, elsewhere: Path) -> None:
    (checkout / ".venv").unlink()
    for arguments in ((), ("serve",), ("settings",), ("models", "list"), ("models", "export", "RN50")):
        result = run(checkout / "clipserve", *arguments, cwd=elsewhere)
        assert result.returncode == 1
        assert f"'make run' in {checkout}" in result.stderr


def test_makers_of_artifacts_run_where_pytorch_is(checkout: Path, elsewhere: Path) -> None:
    python = checkout / ".venv-export/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "the other Python: $*"\n')
    python.chmod(0o755)
    for name in ("export", "variant"):
        result = run(checkout / "clipserve", "models", name, "x y", cwd=elsewhere)
        assert result.stdout == f"the other Python: -P -m clipserve_models {name} x y\n"
    for arguments in (("settings",), ("models", "list")):
        assert "the other Python" not in run(checkout / "clipserve", *arguments, cwd=elsewhere).stdout


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_it_serves_until_a_signal(checkout: Path, elsewhere: Path, arguments: list[str]) -> None:
    port = free_port()
    chosen = {"CLIPSERVE_PORT": str(port), "CLIPSERVE_OPERATIONS_ENABLED": "false"}
    process = subprocess.Popen(
        [checkout / "clipserve", *arguments],
        cwd=elsewhere,
        env=ENVIRONMENT | chosen,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while not _alive(port):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx.TransportError:
        return False
