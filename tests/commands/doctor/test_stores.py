"""A Redis that is away, and files of keys that are spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.access.key_file import add_key
from loadtests.process import free_port
from tests.commands.doctor.asking import doctor


def test_a_redis_that_is_not_there() -> None:
    port = free_port()
    url = f"redis://:a-password@127.0.0.1:{port}/0"
    told = doctor("--only", "redis", redis_url=url, label_set_store="redis")
    line = told.only("problem")
    assert told.status == 1
    assert line["found"].startswith(f"Redis at redis://127.0.0.1:{port}/0 cannot be asked: Error 111")
    assert "counts rates by itself, and label sets that are stored there cannot be read" in line["do"]
    assert "a-password" not in told.output


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"name": "camera"}\n', "line 1: sha256: Field required"), ("cs_a-real-key-by-mistake\n", "line 1: ")],
)
def test_a_file_of_keys_that_is_spoilt(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    told = doctor("--only", "keys", keys_file=file)
    assert told.status == 1
    assert f"{file}, {said}" in told.only("problem")["found"]
    assert "clipserve keys add" in told.only("problem")["do"]
    assert "a-real-key" not in told.output


def test_a_file_of_keys_that_others_may_write(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "camera", ["use"])
    assert doctor("--only", "keys", keys_file=tmp_path / "keys").status == 0
    (tmp_path / "keys").chmod(0o666)
    line = doctor("--only", "keys", keys_file=tmp_path / "keys").only("warning")
    assert line["do"] == f"chmod go-w {tmp_path / 'keys'}"


def test_an_open_service_without_keys() -> None:
    assert "it listens on 0.0.0.0" in doctor("--only", "keys", host="0.0.0.0").only("warning")["found"]


def test_a_folder_of_label_sets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    line = doctor("--only", "disk", state_dir=tmp_path / "a-file" / "state").only("warning")
    assert f"{tmp_path / 'a-file'} cannot be written" in line["found"]
    assert "CLIPSERVE_STATE_DIR" in line["do"]


def test_too_little_room_for_label_sets(tmp_path: Path) -> None:
    line = doctor("--only", "disk", state_dir=tmp_path, max_label_sets_bytes=10**18).only("warning")
    assert "CLIPSERVE_MAX_LABEL_SETS_BYTES is 1,000,000,000,000 MB" in line["found"]
