"""Files of vectors, in both formats."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from clipserve.commands.vectors.files import VectorFileError, facts_of, format_of, nearest, open_vectors
from clipserve.commands.vectors.journal import Journal
from tests.commands.vectors.support import DIM, MODEL, fill, finish, vector

PYARROW = importlib.util.find_spec("pyarrow") is not None
ROWS = 2_500  # more than are in memory at a time


@pytest.fixture(
    params=[".npz", pytest.param(".parquet", marks=pytest.mark.skipif(not PYARROW, reason="no pyarrow"))]
)
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Rows of which the fifth has no vector."""
    out = tmp_path / f"a{request.param}"
    journal = Journal(out, "image", MODEL)
    fill(journal, range(ROWS), bad=5)
    finish(journal, out)
    return out


def test_what_is_written_is_read(file: Path) -> None:
    with open_vectors(file) as (facts, pieces):
        batches = [*pieces]
        assert facts == ("image", "toy", "toy@1", DIM)
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    assert [name for name, *_ in rows] == [f"{number}.jpg" for number in range(ROWS)]
    assert rows[5][4:6] == ("undecodable_image", "the image is broken.")
    _, width, height, last, code, detail, count, _ = rows[-1]
    assert (width, height, count, code, detail) == (ROWS - 1, 2 * ROWS - 2, 10 * ROWS - 10, "", "")
    assert (last == vector(ROWS - 1)).all()


def test_the_nearest_rows_come_first_and_one_without_a_vector_never(file: Path) -> None:
    query = vector(17)
    found = nearest(file, query, 20)
    assert found[0].name == "17.jpg"
    cosines = {f"{number}.jpg": float(vector(number) @ query) for number in range(ROWS) if number != 5}
    assert [row.name for row in found] == sorted(cosines, key=lambda name: -cosines[name])[:20]
    everything = nearest(file, query, 2 * ROWS)
    assert len(everything) == ROWS - 1
    assert "5.jpg" not in {row.name for row in everything}


def test_a_file_that_is_cut_short_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1_000])
    with pytest.raises(VectorFileError, match="is not a file of vectors, or is damaged"):
        facts_of(file)


@pytest.mark.parametrize("name", ["path", "vector", "detail"])
def test_an_npz_with_other_bytes_in_it_is_named(name: str, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    journal = Journal(out, "image", MODEL)
    fill(journal, range(ROWS), bad=5)
    content = bytearray(finish(journal, out))
    first = content.index(f"{name}.npy".encode()) + len(name)
    content[first + 100 : first + 110] = bytes(255 - byte for byte in content[first + 100 : first + 110])
    out.write_bytes(content)
    with pytest.raises(VectorFileError, match="is not a file of vectors, or is damaged"):
        nearest(out, vector(0), 1)


def test_numpy_reads_an_npz_without_pickle(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    journal = Journal(out, "image", MODEL)
    fill(journal, range(4), bad=2)
    finish(journal, out)
    with np.load(out, allow_pickle=False) as arrays:
        read = dict(arrays)
    assert read["path"].tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert (read["vector"].dtype, read["vector"].shape) == (np.float32, (4, DIM))
    assert not read["vector"][2].any()
    assert read["size"].tolist() == [[0, 0], [1, 2], [0, 0], [3, 6]]
    assert read["error"].tolist() == ["", "", "undecodable_image", ""]
    assert (read["failed"].tolist(), read["detail"].tolist()) == ([2], ["the image is broken."])
    assert (read["fingerprint"], read["model"]) == ("toy@1", "toy")


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    finish(Journal(out, "image", MODEL), out)
    assert np.load(out)["vector"].shape == (0, DIM)
    assert nearest(out, vector(0), 3) == []


def test_another_suffix_and_a_missing_library_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VectorFileError, match=r"ends with \.npz or \.parquet"):
        format_of(tmp_path / "a.csv")
    monkeypatch.delitem(sys.modules, "clipserve.commands.vectors.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(VectorFileError, match=r"pyarrow.*clipserve-core\[parquet\]"):
        format_of(tmp_path / "a.parquet")
