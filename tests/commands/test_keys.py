"""`clipserve keys`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clipserve.__main__ import cli
from clipserve.access.key_file import read_keys
from clipserve.access.keys import Keys
from tests.support.process import ROOT


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    monkeypatch.setenv("CLIPSERVE_KEYS_FILE", str(path))
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *words])


def test_add_prints_the_key_alone_on_standard_output(file: Path) -> None:
    added = run("add", "camera")
    assert added.exit_code == 0
    found = Keys(read_keys(file)).find(f"Bearer {added.stdout.strip()}")
    assert found
    assert (found.name, found.scopes) == ("camera", ("use",))


def test_a_rate_that_is_no_whole_number_leaves_the_file_as_it_was(file: Path) -> None:
    for rate in ("0.5", "-1", "many", str(10**10)):
        assert run("add", "other", "--rows-per-second", rate).exit_code in (1, 2), rate
    assert not file.exists() or read_keys(file) == ()


def test_list_shows_names_scopes_and_rates_and_no_digest(file: Path) -> None:
    run("add", "camera", "--rows-per-second", "7")
    (kept,) = read_keys(file)
    listed = run("list").stdout
    assert listed.split("\t") == ["camera", "use", str(kept.created), "7 rows/s\n"]
    (shown,) = json.loads(run("list", "--json").stdout)
    limits = {"rows_per_second": 7, "bytes_per_second": None}
    assert shown == {"name": "camera", "scopes": ["use"], "created": str(kept.created), **limits}


def test_what_goes_wrong_is_said_in_a_line(file: Path) -> None:
    run("add", "camera")
    before = file.read_bytes()
    for words in (
        ("add", "camera"),
        ("add", "a b"),
        ("remove", "other"),
        ("list", "--file", "/nowhere/keys"),
    ):
        failed = run(*words)
        assert (failed.exit_code, failed.stdout) == (1, ""), words
        assert failed.stderr.startswith("clipserve: ")
        assert failed.stderr.count("\n") == 1
    assert file.read_bytes() == before


@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
def test_a_key_that_cannot_be_shown_is_not_added(tmp_path: Path, output: str) -> None:
    words = f"{sys.executable} -m clipserve keys add a --file {tmp_path / 'keys'} {output}"
    done = subprocess.run(["sh", "-c", words], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=300)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "the key cannot be shown, so it was not added: " in done.stderr
    assert not (tmp_path / "keys").exists()
