"""The settings of where label sets are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.settings import Settings
from tests.support.process import failed_start


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("CLIPSERVE_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_state_is_below_the_home_directory_or_where_xdg_says(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().state_dir == home / ".local" / "state" / "clipserve"
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert Settings().state_dir == Path("/srv/state/clipserve")
    for ignored in ("", "state"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert Settings().state_dir == home / ".local" / "state" / "clipserve"


def test_a_chosen_folder_is_taken_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    for given, chosen in (("/data", Path("/data")), ("data", Path("data")), ("~/data", home / "data")):
        monkeypatch.setenv("CLIPSERVE_STATE_DIR", given)
        assert Settings().state_dir == chosen
    assert Settings(state_dir=Path("/other")).state_dir == Path("/other")


@pytest.mark.parametrize("folder", ["", "~no-such-user/state"])
def test_what_names_no_folder_is_refused(folder: str) -> None:
    status, reason = failed_start(state_dir=folder)
    assert status == 2
    assert f"CLIPSERVE_STATE_DIR={folder!r}: write a path" in reason
