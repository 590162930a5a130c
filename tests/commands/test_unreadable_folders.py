"""Folders that cannot be read for a while: their rows stay in the index, and nothing is embedded twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipserve.client.index import Facts, Index, Row
from clipserve.commands.vectors.places import NAME
from tests.commands.files import photos, run_here
from tests.commands.hostile import Parts, good_but, path_of, serving
from tests.support.process import ROOT, UNPRIVILEGED

FACTS = Facts("toy", "toy@1", 2)
X = np.array([1, 0], "f4")


def clipserve(*words: str | Path) -> tuple[int, str, str]:
    """As a user whom the modes of folders stop."""
    command = [*UNPRIVILEGED, sys.executable, "-m", "clipserve", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def embedded(folder: Path) -> Path:
    """The folder, with an index that has its 1,000 photos in three folders, and one more."""
    for number in range(1_001):
        path = folder / ("more" if number == 1_000 else "abc"[number % 3]) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    found = [(str(path.relative_to(folder)), path.stat()) for path in folder.rglob("*.jpg")]
    with closing(Index(folder / NAME)) as index:
        index.begin(FACTS)
        index.store(Row(name, it.st_size, it.st_mtime_ns, 1, 1, vector=X) for name, it in found)
    return folder


def rows(folder: Path) -> int:
    with closing(Index(folder / NAME)) as index:
        return index.count("vector IS NOT NULL")


def nothing(_: Path) -> None:
    """The drive's place is gone too."""


LEADS = {"empty": Path.mkdir, "missing": nothing, "loop": lambda path: path.symlink_to(path.name)}
LEADS |= {"link to nothing": lambda path: path.symlink_to("/nowhere/photos")}


@pytest.mark.parametrize("place", LEADS.values(), ids=LEADS)
def test_rows_of_folders_that_cannot_be_read_stay_and_none_is_embedded_again(
    tmp_path: Path, place: Callable[[Path], None]
) -> None:
    folder = embedded(tmp_path / "photos")
    with serving(good_but({})) as (url, requests):
        (folder / "a").chmod(0)
        for name in "bc":
            (folder / name).rename(tmp_path / name)
            place(folder / name)
        for words in (
            ("embed", folder, "--url", url),
            ("search", folder, "a cat", "--url", url, "--top", "9"),
        ):
            status, output, errors = clipserve(*words)
            assert (status, output.count("\n")) == (1, 9 if words[0] == "search" else 0), errors
            assert [f"Could not read {name}, whose rows stay: " in errors for name in "abc"] == 3 * [True]
            assert rows(folder) == 1_001
        (folder / "more/1000.jpg").rename(folder / "more/.hidden")
        clipserve("embed", folder, "--url", url)
        assert rows(folder) == 1_000, "what was in a folder that is read, and is not any more, is gone"
        (folder / "a").chmod(0o700)
        for name in "bc":
            if os.path.lexists(folder / name):
                (folder / name).unlink() if (folder / name).is_symlink() else (folder / name).rmdir()
            (tmp_path / name).rename(folder / name)
        assert "1,000 rows; embedded now: 0." in clipserve("embed", folder, "--url", url)[2]
    assert sum(path_of(each) == "/embed" and b'"texts"' not in each for each in requests) == 0


def test_rows_of_folders_that_are_gone_leave_the_index_when_that_is_asked_for(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 201)
    with serving(good_but({})) as (url, _):
        assert run_here("embed", folder, "--url", url)[0] == 0
        (folder / "0").rename(tmp_path / "0")
        (folder / "1").chmod(0)
        (folder / "link").symlink_to(folder / "nothing")
        status, _, errors = run_here("embed", folder, "--url", url)
        assert (status, rows(folder), "`clipserve embed --prune` drops its rows" in errors) == (1, 201, True)
        status, _, errors = clipserve("embed", folder, "--url", url, "--prune")
        assert (status, rows(folder), "Could not read 1, whose" in errors) == (1, 101, True), errors


def test_a_reader_that_cannot_write_waits_for_the_writers_commit(tmp_path: Path) -> None:
    """Two searches and an `embed` at once: SQLite lets nobody read while a commit is written."""
    folder = photos(tmp_path / "photos", 3)
    with closing(Index(folder / NAME)) as writer:
        writer.begin(FACTS)
        writer.store([Row("0/old.jpg", 1, 1, 1, 1, vector=X)])
        assert writer._database
        release = list[threading.Timer]()

        def answers(request: bytes) -> Parts:
            if b'"texts"' in request and not release:
                writer._execute("COMMIT")
                writer._execute("BEGIN EXCLUSIVE")
                release.append(threading.Timer(2, lambda: writer._execute("COMMIT")))
                release[0].start()
            return good_but({})(request)

        with serving(answers) as (url, _):
            status, output, errors = clipserve("search", folder, "a cat", "--url", url)
        release[0].join()
    assert (status, output) == (0, "1.0000\t0/old.jpg\n"), errors
