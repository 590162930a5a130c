"""`clipserve doctor`: what it says on a machine without a fault, and how it is used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy
import pytest
from typer.testing import CliRunner, Result

from clipserve.__main__ import cli
from clipserve.commands.doctor.checks import HERE, THERE
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from loadtests.process import free_port
from tests.commands.doctor.asking import doctor, doctor_process
from tests.commands.hostile import in_a_terminal
from tests.process import ROOT, Fresh

DOCUMENT = ROOT / "docs" / "doctor.md"


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *words], env=environment)


@pytest.mark.slow
def test_a_machine_without_a_fault_has_no_problem(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("port", "grpc_port", "operations_port")}
    settings: dict[str, Any] = {"backend": "onnx", "threads": 1, "state_dir": tmp_path, **ports}
    told = doctor_process(**settings)
    assert (told.status, told.lines("problem")) == (0, []), told.output
    assert [each["name"] for each in told.report["checks"]] == [check.name for check in HERE]
    (engine,) = (line["found"] for line in told.lines() if line["check"] == "engines")
    assert engine.startswith("demo: onnxruntime on the CPU in fp32, by CLIPSERVE_BACKEND=onnx; self-test")
    (gpu, *_) = (line for line in told.lines() if line["check"] == "gpu")
    assert gpu["level"] == "ok"


def test_the_shape_of_its_json() -> None:
    report = doctor("--only", "keys", "--only", "triton").report
    assert report.keys() == {
        *("format", "clipserve", "examined", "at", "level", "counts", "checks", "not_checked", "settings"),
        "packages",
    }
    assert (report["format"], report["examined"], report["level"]) == (1, "this machine", "ok")
    assert report["counts"] == {"ok": 2, "warning": 0, "problem": 0}
    assert [each["name"] for each in report["checks"]] == ["triton", "keys"]
    for check in report["checks"]:
        assert check.keys() == {"name", "level", "seconds", "ended", "lines"}
        assert [line.keys() for line in check["lines"]] == [{"level", "found", "do"}]


def test_the_report_has_the_settings_as_they_apply_and_the_packages() -> None:
    report = doctor("--only", "triton", models=DEMO, workers=2, triton_token="a-secret").report
    assert report["settings"].keys() == Settings.model_fields.keys()
    assert (report["settings"]["workers"], report["settings"]["models"]) == (2, [str(DEMO)])
    assert report["packages"]["numpy"] == numpy.__version__


def test_programs_get_columns_apart_by_tabs() -> None:
    told = run("--only", "settings", CLIPSERVE_PROT="1")
    assert told.exit_code == 1
    first, second, *_, last = told.stdout.splitlines()
    assert first.startswith("problem\tsettings\tCLIPSERVE_PROT is not a setting: ")
    assert second.startswith("\t\t-> correct it")
    assert last == "problems: 1, warnings: 0"


def test_the_report_says_what_was_not_checked() -> None:
    told = run("--only", "keys", "--only", "cpu").stdout.splitlines()
    left_out, *beyond = (line for line in told if line.startswith("not checked: "))
    assert left_out.startswith("not checked: settings, packages, gpu, ")
    assert not re.search(r"\b(keys|cpu)\b", left_out)
    assert [line for line in beyond if "proxy, TLS and firewall" in line]
    assert doctor("--only", "keys").report["not_checked"][1:] == [
        line.removeprefix("not checked: ") for line in beyond
    ]


def test_people_get_a_table() -> None:
    told = in_a_terminal("doctor", "--only", "keys", "--only", "triton").splitlines()
    plain = [re.sub("\x1b[^m]*m", "", line).rstrip() for line in told]
    assert plain[0] == "ok       triton    nothing to check: no model is computed on Triton"
    assert plain[1].startswith("ok       keys      no keys")
    assert plain[-1] == "problems: 0, warnings: 0"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "moon"], "--only moon: no such check. There are: settings, packages"),
        (["--url", "localhost:8080"], "--url: write http://host:port"),
        (["--ca-file", __file__], "--ca-file is for --url"),
        (["--moon"], "No such option"),
    ],
)
def test_wrong_use_is_status_2(words: list[str], said: str) -> None:
    told = run(*words)
    assert told.exit_code == 2
    assert said in told.stderr


@pytest.mark.slow
def test_ports_of_a_service_that_runs_here_are_a_warning() -> None:
    process = Fresh(backend="onnx", threads=1)
    process.wait_ready()
    port = int(process.url.rpartition(":")[2])
    told = doctor("--only", "ports", port=port, grpc_port=0, operations_port=0)
    found = told.only("warning")["found"]
    assert found.endswith(f"a clipserve runs here already, process {process.popen.pid}")
    process.stop()


def test_the_document_says_of_every_check_what_to_do() -> None:
    text = DOCUMENT.read_text()
    for title, checks in (("This machine", HERE), ("A server", THERE)):
        section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        told = re.findall(r"^- \*\*`(\w+)`\*\*", section, re.MULTILINE)
        assert told == [check.name for check in checks]
