"""`python -m clipserve_models` as a user meets it: a process, its exit code and what it prints."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str, python_path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clipserve_models", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(python_path), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_list_prints_the_catalog_as_a_table() -> None:
    result = run("list")
    assert result.returncode == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["NAME", "MODEL", "PRETRAINED", "LICENCE", "ABOUT"]
    assert any(row.split()[:4] == ["ViT-B-32", "ViT-B-32", "openai", "MIT"] for row in rows)


def test_list_and_verify_do_not_load_torch(tmp_path: Path) -> None:
    for name in ("torch", "open_clip"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('loaded')")
    assert run("list", python_path=tmp_path).returncode == 0
    assert "is not an artifact" in run("verify", str(tmp_path), python_path=tmp_path).stderr


def test_export_without_torch_says_what_to_install(tmp_path: Path) -> None:
    for name in ("torch", "open_clip"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no', name={name!r})")
    result = run("export", "ViT-B-32", python_path=tmp_path)
    assert result.returncode == 1
    assert "is not installed: pip install 'clipserve-models[export]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_verify_of_a_folder_that_is_no_artifact_is_told_without_a_traceback(tmp_path: Path) -> None:
    result = run("verify", str(tmp_path))
    assert result.returncode == 1
    assert "has no model.json" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("exprot").returncode == 2
