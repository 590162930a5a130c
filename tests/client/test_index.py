"""The index: one SQLite file with vectors of files, which is the journal of a run too."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from clipserve.client.index import Facts, Index, IndexInUse, IndexUnusable, Row

DIM = 4
FACTS = Facts("toy", "toy@1", DIM)


def vector(seed: int) -> npt.NDArray[np.float32]:
    """Of unit length, another for each seed."""
    values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return values / np.linalg.norm(values)


def row(number: int) -> Row:
    return Row(f"{number}.jpg", 10 * number, number, 2, 3, vector=vector(number))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(Index(tmp_path / "a.sqlite")) as opened:
        yield opened


def filled(index: Index, count: int) -> Index:
    index.begin(FACTS)
    index.store(row(number) for number in range(count))
    return index


def test_what_is_stored_is_there_when_it_is_opened_again(index: Index) -> None:
    filled(index, 3).store([Row("bad.jpg", 7, 8, code="undecodable_image", detail="the image is broken.")])
    index.close()
    with closing(Index(index.path)) as again:
        assert again.facts == FACTS
        known = again.known()
        assert [known.get(name) for name in ("1.jpg", "bad.jpg", "new.jpg")] == [
            (10, 1, ""), (7, 8, "undecodable_image"), None
        ]  # fmt: skip
        rows = [*again.rows()]
        assert [each.name for each in rows] == ["0.jpg", "1.jpg", "2.jpg", "bad.jpg"]
        assert np.array_equal(rows[2].vector, vector(2))  # type: ignore[arg-type] # not None
        assert (rows[3].vector, rows[3].detail) == (None, "the image is broken.")
    # Another vector, and an error in place of one.
    with closing(Index(index.path)) as again:
        again.begin(FACTS)
        again.store([row(1)._replace(vector=vector(9)), Row("2.jpg", 0, 0, code="too_large")])
        assert (again.count(), again.count("code != ''")) == (4, 2)
        assert again.nearest(vector(9), 1)[0].name == "1.jpg"
        assert "2.jpg" not in {found.name for found in again.nearest(vector(2), 4)}


def test_the_nearest_rows_come_first_and_equal_ones_in_their_order(index: Index) -> None:
    rows = 10_000  # more than are in memory at a time
    filled(index, rows).store([row(17)._replace(name="same.jpg")])
    query = vector(17)
    cosines = {f"{number}.jpg": float(vector(number) @ query) for number in range(rows)}
    expected = sorted(cosines, key=lambda name: -cosines[name])[:19]
    assert [found.name for found in index.nearest(query, 20)] == ["17.jpg", "same.jpg", *expected[1:]]
    assert index.nearest(query, 1)[0].cosine == pytest.approx(1)
    assert len(index.nearest(query, 2 * rows)) == rows + 1


def test_one_process_writes_and_others_read_meanwhile(index: Index) -> None:
    filled(index, 3)
    with closing(Index(index.path)) as other:
        with pytest.raises(IndexInUse, match="in use: another command writes it"):
            other.begin(FACTS)
        assert other.count() == len(other.nearest(vector(0), 9)) == 3
        index.store([row(3)])
        assert other.count() == 4
        index.close()
        other.begin(FACTS)


def test_vectors_of_another_dimension_are_refused_before_the_first_is_stored(index: Index) -> None:
    filled(index, 1)
    with pytest.raises(IndexUnusable, match=r"toy@1 \(4 numbers\).* toy@1 \(5\)"):
        index.check(FACTS._replace(embed_dim=5))


def test_a_full_disk_is_named(index: Index) -> None:
    filled(index, 1)
    index._execute("PRAGMA max_page_count = 1")
    with pytest.raises(IndexUnusable, match=r"disk is full. Free some space \(ENOSPC\)"):
        index.store(row(number) for number in range(2_000))


def test_two_that_begin_one_index_keep_each_other_s_rows(tmp_path: Path) -> None:
    """Both see an empty file, as one that began and was killed leaves it; the second to write finds rows."""
    for name in ("a.sqlite", "b.sqlite"):
        (tmp_path / name).touch()
    with closing(Index(tmp_path / "a.sqlite")) as one, closing(Index(tmp_path / "a.sqlite")) as other:
        filled(one, 3)
        one.close()
        other.begin(FACTS)
        assert other.count() == 3
        other.close()
    with closing(Index(tmp_path / "b.sqlite")) as one, closing(Index(tmp_path / "b.sqlite")) as other:
        filled(one, 3)
        one.close()
        with pytest.raises(IndexUnusable, match=r"toy@1.*toy@2.*cannot be compared"):
            other.begin(FACTS._replace(fingerprint="toy@2"))


def of_another_version(path: Path) -> None:
    filled(Index(path), 1).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE photos (id INTEGER)")


def cut_short(path: Path) -> None:
    filled(Index(path), 500).close()
    path.write_bytes(path.read_bytes()[:-20_000])


def without_facts(path: Path) -> None:
    filled(Index(path), 1).close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM about")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(of_another_version, "no index of this version of clipserve", id="version"),
        pytest.param(of_another_program, "Name another file, or delete an old index", id="program"),
        pytest.param(lambda path: path.write_bytes(b"no database" * 99), "Name another file", id="none"),
        pytest.param(cut_short, "`clipserve embed --rebuild`", id="cut short"),
        pytest.param(without_facts, "which model made it", id="no facts"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(make, said: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "a.sqlite")
    with pytest.raises(IndexUnusable, match=rf"a\.sqlite.*{said}"):
        Index(tmp_path / "a.sqlite").nearest(vector(0), 1)
