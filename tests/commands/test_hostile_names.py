"""Files whose names mean harm: they are embedded, found and told, and no name is obeyed by the terminal."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.commands.hostile import EVIL, OBEYED, Done, body, good_but, in_a_terminal, run, serving
from tests.support.process import ROOT

CAT = (ROOT / "docs/cat.jpg").read_bytes()
NAMES = {
    "a new line": "a\nclipserve: b.jpg",
    "a tab": "0.9999\tb.jpg",
    "no UTF-8": "\udcff\udc9b.jpg",
    "all of it": EVIL.replace("/", "") + ".jpg",
}
LABELS = ["--labels", "a,b"]


def is_shown(done: Done, lines: int) -> None:
    assert (done.status, done.all.count("\n")) == (1, lines), repr(done.all)
    assert ".jpg" in done.all


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_shown_and_not_obeyed(name: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "a.npz"
    index = tmp_path / "photos/.clipserve.sqlite"
    folder.mkdir()
    (folder / name).write_bytes(CAT)
    with serving(good_but({})) as (url, _):
        classified = run("classify", folder, *LABELS, "--url", url)
        assert (classified.status, classified.output.count("\n")) == (0, 1)
        assert run("embed", folder, "--npz", out, "--url", url).status == 0
        found = run("search", index, "a cat", "--url", url)
        assert (found.status, found.output.count("\n"), found.output.count("\t")) == (0, 1, 1)
    with serving(good_but({"/classify": refusal(), "/embed": refusal()})) as (url, _):
        is_shown(run("classify", folder, *LABELS, "--url", url), 2)
        index.unlink()
        is_shown(run("embed", folder, "--npz", out, "--url", url), 3)
    with np.load(out) as arrays:  # the file has the name as it is, but for bytes that are not UTF-8
        assert os.path.basename(arrays["path"][0]) == name.encode("utf-8", "surrogateescape").decode(
            "utf-8", "backslashreplace"
        )


def refusal() -> list[bytes]:
    return list(body({"code": "undecodable_image", "detail": "it is none."}, 422))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_not_there_is_shown_and_not_obeyed(name: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / name
    asked = (
        ["embed", nowhere, "--index", tmp_path / "a.sqlite"],
        ["embed", tmp_path, "--npz", nowhere.with_suffix(".npz")],
        ["search", nowhere.with_suffix(".sqlite"), "a cat"],
        ["label-sets", "put", nowhere],
        ["keys", "list", "--file", nowhere],
        ["doctor", "--url", "http://localhost:1", "--ca-file", nowhere],
        ["classify", name, *LABELS],
        ["classify", name, *LABELS, "--model", name],
        [name],
        [f"--{name}"],
        ["embed", f"--{name}"],
    )
    with serving(good_but({})) as (url, _):
        for words in asked:
            assert run(*words, CLIPSERVE_URL=url).status in (1, 2), words


@pytest.mark.slow
def test_a_name_is_not_obeyed_in_a_terminal(tmp_path: Path) -> None:
    (tmp_path / NAMES["all of it"]).write_bytes(CAT)
    with serving(good_but({})) as (url, _):
        seen = in_a_terminal("classify", tmp_path, *LABELS, "--url", url)
    assert "\\x1b]52;c;ZXZpbA==" in seen
    assert not OBEYED.search(seen), repr(seen)
