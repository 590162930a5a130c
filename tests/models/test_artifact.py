"""An artifact's folder is written whole or not at all."""

import os
import time
from pathlib import Path

import pytest

from clipserve_models.artifact import replacing
from clipserve_models.errors import ModelsError


def export(out: Path, mark: str, *, fails: bool = False) -> None:
    """`mark` is all that the artifact is."""
    with replacing(out) as folder:
        (folder / "model.json").write_text(mark)
        if fails:
            raise ModelsError("the figures are wrong")


def mark(out: Path) -> str:
    """Of the artifact, beside which there is nothing."""
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return (out / "model.json").read_text()


def test_the_new_folder_takes_the_place_of_the_old(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    for each in ("first", "second"):
        export(out, each)
        assert mark(out) == each


def test_a_failure_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export(out, "old")
    with pytest.raises(ModelsError, match="figures"):
        export(out, "unfinished", fails=True)
    assert mark(out) == "old"


def test_what_a_process_left_that_ended_is_removed_a_day_later(
    tmp_path: Path,
) -> None:
    for name, hours in (("old", 25), ("new", 23)):
        (tmp_path / f".model.partial-{name}").mkdir()
        then = time.time() - 3_600 * hours
        os.utime(tmp_path / f".model.partial-{name}", (then, then))
    export(tmp_path / "model", "mark")
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model.partial-new"}


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export(out, "the only good copy")
    out.rename(tmp_path / ".model.previous-1")  # and here the process ended
    with pytest.raises(ModelsError, match="figures"):
        export(out, "", fails=True)
    assert (out / "model.json").read_text() == "the only good copy"


def test_exports_to_one_place_leave_one_another_alone_and_the_last_one_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename, others = tmp_path / "model", Path.rename, ["other", "third"]
    with replacing(out) as slow:
        export(out, "fast")
        assert (out / "model.json").read_text() == "fast"
        (slow / "model.json").write_text("slow")
    assert mark(out) == "slow"

    def beside(path: Path, target: Path) -> Path:
        if target == out and others:  # another comes between, whenever that is
            export(out, others.pop())
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", beside)
    export(out, "last")
    assert mark(out) == "last"


def test_a_folder_that_is_no_artifact_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelsError, match="not an artifact"), replacing(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").exists()
