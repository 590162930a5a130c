"""Too few files."""

from __future__ import annotations

import pytest

from tests.commands.doctor.asking import doctor_process


def test_a_process_that_may_open_64_files() -> None:
    told = doctor_process("--only", "files", prefix=("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"))
    line = told.only("problem")
    assert told.status == 1
    assert line["found"] == "a process may open 64 files; 1,280 are needed, 256 of them besides connections"
    assert "ulimit -Hn 1280" in line["do"]


@pytest.mark.slow
def test_fewer_files_than_connections_are_a_warning() -> None:
    told = doctor_process("--only", "files", prefix=("sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh"))
    assert told.status == 0
    assert "1,280 are needed, 256 of them besides connections" in told.only("warning")["found"]
