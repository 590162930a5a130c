"""`clipserve models` as a user meets it where PyTorch is not installed: exit codes and what is printed."""

import sys
from pathlib import Path

import pytest

from clipserve_models.cache import in_cache
from tests.models.asking import ask
from tests.support.process import copy_of_demo


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "open_clip"):
        monkeypatch.setitem(sys.modules, name, None)


def test_without_torch_models_are_listed_and_verified_and_export_says_what_to_install(tmp_path: Path) -> None:
    result = ask("list")
    assert result.returncode == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["NAME", "MODEL", "PRETRAINED", "LICENCE", "ABOUT"]
    assert any(row.split()[:4] == ["ViT-B-32", "ViT-B-32", "openai", "MIT"] for row in rows)
    assert "is not an artifact" in ask("verify", str(tmp_path)).stderr
    result = ask("export", "MobileCLIP2-S0-random")
    assert (result.returncode, result.stdout) == (1, "")
    assert "is not installed: pip install 'clipserve-models[export]'" in result.stderr
    assert "In a checkout `make model NAME=...` exports a model" in result.stderr
    assert "run `.venv-export/bin/python -m clipserve_models`" in result.stderr


def test_a_name_that_is_not_of_the_catalog_is_said_without_torch_too() -> None:
    result = ask("export", "ViT-B-33")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no model named 'ViT-B-33'. Similar names: ViT-B-32")
    assert "is not installed" in ask("export", "ViT-B-33-random").stderr


def test_commands_take_the_name_of_a_model_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_demo(tmp_path).rename(tmp_path / "ViT-B-32")
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path))
    assert in_cache("RN50") == tmp_path / "RN50", "where a start looks for it"
    result = ask("verify", "ViT-B-32")
    assert (result.returncode, result.stdout.partition("@")[0]) == (0, "demo"), result.stderr
    absent = ask("verify", "RN50")
    assert absent.returncode == 1
    assert absent.stderr.startswith(f"error: RN50 is neither a folder nor a model in {tmp_path}")
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", "")
    bad = ask("verify", "RN50")
    assert bad.stderr.startswith("error: CLIPSERVE_CACHE_DIR='': write a path")
