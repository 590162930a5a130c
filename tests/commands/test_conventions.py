"""What commands have in common: the version, completion, JSON, standard input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve import __version__
from clipserve.__main__ import cli
from clipserve.access.key_file import read_keys
from clipserve.access.keys import Keys
from tests.commands.hostile import CAT, good_but, run, serving


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.status, done.output) == (0, f"clipserve {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    done = CliRunner().invoke(cli, ["--show-completion", shell], prog_name="clipserve")
    assert (done.exit_code, "_CLIPSERVE_COMPLETE" in done.output) == (0, True)
    words = {"_CLIPSERVE_COMPLETE": "complete_bash", "COMP_WORDS": "clipserve la", "COMP_CWORD": "1"}
    completed = CliRunner().invoke(cli, [], prog_name="clipserve", env=words)
    assert completed.output.split() == ["label-sets"]


def test_a_key_that_is_added_or_removed_is_json(tmp_path: Path) -> None:
    file = ("--file", tmp_path / "keys", "--json")
    added = json.loads(run("keys", "add", "a-camera", *file).output)
    assert (added["name"], added["scopes"]) == ("a-camera", ["use"])
    assert Keys(read_keys(tmp_path / "keys")).find(f"Bearer {added['key']}")
    assert json.loads(run("keys", "remove", "a-camera", *file).output) == {
        "name": "a-camera",
        "removed": True,
    }


def test_results_of_a_search_are_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(CAT.read_bytes())
    with serving(good_but({})) as (url, _):
        done = run("search", tmp_path, "a cat", "--url", url, "--json")
    assert [json.loads(line) for line in done.output.splitlines()] == [{"name": "a.jpg", "cosine": 1.0}]
