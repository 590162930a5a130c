"""The journal of an unfinished file of vectors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipserve.commands.vectors.files import Finished, VectorFileError
from clipserve.commands.vectors.journal import Journal
from tests.commands.vectors.support import MODEL, fill, finish, item


def journal(out: Path, *, restart: bool = False) -> Journal:
    return Journal(out, "image", MODEL, restart=restart)


def names(finished: Finished) -> list[str]:
    return [name for chunk in finished.chunks("named(key)") for (name,) in chunk]


def test_a_journal_that_was_closed_in_between_makes_the_same_file(tmp_path: Path) -> None:
    whole = journal(tmp_path / "whole.npz")
    fill(whole, range(20), bad=3)
    wanted = finish(whole, tmp_path / "whole.npz")
    for stop in (0, 7, 20):
        first = journal(tmp_path / "parts.npz")
        fill(first, range(stop), bad=3)
        first.close()
        second = journal(tmp_path / "parts.npz")
        fill(second, range(20), bad=3)
        assert finish(second, tmp_path / "parts.npz") == wanted
        (tmp_path / "parts.npz").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.npz"]


def test_a_record_that_is_torn_is_dropped_and_those_before_it_are_kept(tmp_path: Path) -> None:
    open_one = journal(tmp_path / "a.npz")
    fill(open_one, range(5))
    open_one.commit()
    # As a process leaves it that is killed: what it has written since is cut in the middle.
    log = tmp_path / "a.npz.journal-wal"
    committed, database = log.read_bytes(), (tmp_path / "a.npz.journal").read_bytes()
    fill(open_one, range(5, 10))
    open_one.commit()
    torn = log.read_bytes()[: len(committed) + 1_000]
    open_one.close()
    assert torn[: len(committed)] == committed
    again = tmp_path / "again"
    again.mkdir()
    (again / "a.npz.journal").write_bytes(database)
    (again / "a.npz.journal-wal").write_bytes(torn)
    resumed = journal(again / "a.npz")
    assert [resumed.expect(item(number), number)[0] for number in range(7)] == ["done"] * 5 + ["new"] * 2
    resumed.close()


def test_done_is_what_has_a_vector_and_whose_file_has_not_changed(tmp_path: Path) -> None:
    first = journal(tmp_path / "a.npz")
    fill(first, range(3), bad=2)
    first.close()
    second = journal(tmp_path / "a.npz")
    states = [second.expect(each, at)[0] for at, each in enumerate((item(0), item(1, modified=9), item(2)))]
    assert states == ["done", "new", "new"]
    assert second.expect(item(0), 3)[0] == "again"
    second.close()


@pytest.mark.parametrize("finished", [False, True])
def test_vectors_of_another_fingerprint_are_refused_and_restart_forgets_them(
    tmp_path: Path, finished: bool
) -> None:
    out = tmp_path / "a.npz"
    first = journal(out)
    fill(first, range(3))
    if finished:
        finish(first, out)
    else:
        first.close()
    others = replace(MODEL, fingerprint="toy@2")
    with pytest.raises(VectorFileError, match=r"toy@1.*toy@2.*cannot be compared.*--restart"):
        Journal(out, "image", others)
    with pytest.raises(VectorFileError, match="vectors of images"):
        Journal(out, "text", MODEL)
    assert out.exists() == finished
    anew = Journal(out, "image", others, restart=True)
    assert anew.expect(item(0), 0)[0] == "new"
    anew.close()


def test_rows_of_a_finished_file_are_kept_before_those_that_are_added_unless_it_is_pruned(
    tmp_path: Path,
) -> None:
    out = tmp_path / "a.npz"
    first = journal(out)
    fill(first, range(5), bad=1)
    finish(first, out)
    second = journal(out)
    fill(second, range(3, 8))
    finished = second.finish(prune=False)
    assert names(finished) == [f"{number}.jpg" for number in (0, 1, 2, 3, 4, 5, 6, 7)]
    assert (finished.others, finished.failed) == (3, 1)
    second.close()
    third = journal(out)
    fill(third, range(3, 8))
    pruned = third.finish(prune=True)
    assert names(pruned) == [f"{number}.jpg" for number in range(3, 8)]
    third.close()


def test_a_file_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    first = journal(tmp_path / "a.npz")
    with pytest.raises(VectorFileError, match="in use"):
        journal(tmp_path / "a.npz")
    first.close()
    journal(tmp_path / "a.npz").close()


def test_a_journal_is_deleted_before_another_process_can_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, unlink, tried = tmp_path / "a.npz", Path.unlink, []

    def meanwhile(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.npz.journal":
            with pytest.raises(VectorFileError, match="in use"):
                journal(out)
            tried.append(path)
        unlink(path, missing_ok)

    first = journal(out)
    monkeypatch.setattr(Path, "unlink", meanwhile)
    finish(first, out)
    assert tried
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_who_waited_for_a_journal_that_is_deleted_begins_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, connect = tmp_path / "a.npz", sqlite3.connect
    first = journal(out)
    first.close()

    def late(path: Path, **options: Any) -> sqlite3.Connection:
        """Its file is open, and goes, before it is locked."""
        database: sqlite3.Connection = connect(path, **options)
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        monkeypatch.setattr(sqlite3, "connect", connect)
        path.unlink()
        return database

    monkeypatch.setattr(sqlite3, "connect", late)
    second = journal(out)
    with pytest.raises(VectorFileError, match="in use"):
        journal(out)
    second.close()


def test_a_restart_leaves_the_journal_to_a_command_that_runs(tmp_path: Path) -> None:
    first = journal(tmp_path / "a.npz")
    fill(first, range(3))
    with pytest.raises(VectorFileError, match="in use"):
        journal(tmp_path / "a.npz", restart=True)
    first.commit()
    first.close()
    resumed = journal(tmp_path / "a.npz")
    assert [resumed.expect(item(number), number)[0] for number in range(4)] == ["done"] * 3 + ["new"]
    resumed.close()


def test_a_restart_replaces_a_journal_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.npz.journal").write_bytes(b"something else" * 100)
    anew = journal(tmp_path / "a.npz", restart=True)
    assert anew.expect(item(0), 0)[0] == "new"
    anew.close()


def test_a_journal_of_another_version_is_named_and_restart_replaces_it(tmp_path: Path) -> None:
    out = tmp_path / "photos.npz"
    journal(out).close()
    with closing(sqlite3.connect(out.with_name("photos.npz.journal"))) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(VectorFileError, match=r"another version of clipserve\. Start over: --restart"):
        journal(out)
    journal(out, restart=True).close()
    journal(out).close()


def test_what_is_no_journal_and_no_file_of_vectors_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz.journal").write_bytes(b"something else" * 100)
    with pytest.raises(VectorFileError, match=r"a\.npz\.journal is not a journal"):
        journal(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"something else")
    with pytest.raises(VectorFileError, match=r"b\.npz is not a file of vectors"):
        journal(tmp_path / "b.npz")
    assert not (tmp_path / "b.npz.journal").exists()
