"""Settings and variables that are wrong, and too few files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip import resampling
from clipserve.commands.doctor.trial import explained
from tests.commands.doctor.asking import doctor, doctor_process


def test_settings_that_cannot_be_are_lines_and_the_other_checks_go_on() -> None:
    told = doctor(
        "--only",
        "settings",
        "--only",
        "keys",
        port="http",
        workers="0",
        model_settings="{",
        keys_file="/nowhere/keys",
    )
    found = [line["found"] for line in told.lines("problem")]
    assert told.status == 1
    assert any(each.startswith("CLIPSERVE_PORT='http': ") for each in found)
    assert any(each.startswith("CLIPSERVE_WORKERS='0': ") for each in found)
    assert any("must be JSON is not" in each for each in found)
    assert "/nowhere/keys: no such file or directory." in found


def test_a_setting_that_needs_one_that_is_wrong_does_not_stop_it() -> None:
    told = doctor("--only", "settings", keys_file="", rows_per_second="many", metrics_open="false")
    assert told.status == 1


def test_a_file_of_keys_that_cannot_be_read_has_no_line_to_correct(tmp_path: Path) -> None:
    told = [
        doctor("--only", "keys", keys_file=path).only("problem") for path in (tmp_path, tmp_path / "gone")
    ]
    if os.geteuid() != 0:  # who may read every file
        (tmp_path / "closed").touch(0)
        told.append(doctor("--only", "keys", keys_file=tmp_path / "closed").only("problem"))
    for line in told:
        assert f"a file that user {os.geteuid()}, who runs this, can read" in line["do"]
        assert "line" not in line["do"]
    (tmp_path / "broken").write_text("{")
    assert (
        "correct that line" in doctor("--only", "keys", keys_file=tmp_path / "broken").only("problem")["do"]
    )


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {
                "event": "engine_tried",
                "engine": "openvino",
                "precision": "bf16",
                "cosine": 0.780782,
            },
            "; openvino was tried in bf16 and is not used, because its vectors differ: cosine 0.780782, and 0.9995 "
            "is needed",
        ),
        (
            {
                "event": "engine_tried",
                "engine": "openvino",
                "precision": "bf16",
                "cosine": 0.99981,
                "cpu_time_ratio": 0.51,
                "wins": True,
            },
            "; openvino was tried in bf16: cosine 0.999810, 0.51 of onnxruntime's CPU time, and is used",
        ),
        (
            {"event": "engine_passed_over", "engine": "openvino", "error": "no memory"},
            "; openvino was tried and is not used, because it failed: no memory",
        ),
        (
            {
                "event": "engine_chosen",
                "trial": "not kept",
                "trial_ms_per_call": {"onnxruntime": 43.2, "openvino": 40.1},
            },
            "; the choice is not kept (onnxruntime 43.2 ms a call, openvino 40.1 ms a call)",
        ),
        ({"event": "model_ready"}, ""),
    ],
    ids=["differs", "agrees", "fails", "is chosen", "about something else"],
)
def test_an_engine_that_was_tried_is_told_with_what_came_of_it(event: dict[str, Any], said: str) -> None:
    assert explained(event) == said


def test_an_unknown_variable_and_what_was_meant() -> None:
    line = doctor("--only", "settings", prot="a-secret-by-mistake").only("problem")
    assert line["found"].startswith("CLIPSERVE_PROT is not a setting: did you mean CLIPSERVE_PORT?")


def test_variables_of_commands_are_not_unknown() -> None:
    assert doctor("--only", "settings", url="http://localhost:8080", key="k").status == 0


def test_the_doctor_says_what_resizes_images_and_warns_where_it_could_be_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "RESIZED_BY", "clipserve (AVX2)")
    found = [line["found"] for line in doctor("--only", "packages").lines("ok")]
    assert "images are resized by clipserve (AVX2)" in found
    monkeypatch.setattr(resampling, "RESIZED_BY", "Pillow")
    line = doctor("--only", "packages").only("warning")
    assert line["found"].startswith("images are resized by Pillow: ")
    assert "gcc" in line["do"]


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
