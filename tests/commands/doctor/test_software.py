"""Settings and variables that are wrong."""

from __future__ import annotations

from tests.commands.doctor.asking import doctor


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


def test_an_unknown_variable_and_what_was_meant() -> None:
    line = doctor("--only", "settings", prot="a-secret-by-mistake").only("warning")
    assert line["found"] == "CLIPSERVE_PROT is no setting, and is ignored"
    assert "did you mean CLIPSERVE_PORT?" in line["do"]


def test_variables_of_commands_are_not_unknown() -> None:
    assert doctor("--only", "settings", url="http://localhost:8080", key="k").status == 0
