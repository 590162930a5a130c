"""`clipserve doctor`: what it says on a machine without a fault, and how it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from clipserve.__main__ import cli
from clipserve.commands.doctor.table import HERE, THERE, as_markdown
from loadtests.process import free_port
from tests.commands.doctor.asking import doctor, doctor_process
from tests.process import ROOT, Process

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
    assert engine.startswith(
        "demo: onnxruntime on the CPU in fp32, as CLIPSERVE_BACKEND=onnx says; self-test"
    )
    (gpu, *_) = (line for line in told.lines() if line["check"] == "gpu")
    assert gpu["level"] == "ok"


def test_the_shape_of_its_json() -> None:
    report = doctor("--only", "variables", "--only", "tls").report
    assert report.keys() == {"format", "clipserve", "examined", "at", "level", "counts", "checks"}
    assert (report["format"], report["examined"], report["level"]) == (1, "this machine", "ok")
    assert report["counts"] == {"ok": 2, "warning": 0, "problem": 0}
    assert [each["name"] for each in report["checks"]] == ["variables", "tls"]
    for check in report["checks"]:
        assert check.keys() == {"name", "level", "seconds", "ended", "lines"}
        assert [line.keys() for line in check["lines"]] == [{"level", "found", "do"}]


def test_people_get_a_line_for_each_finding_and_one_that_says_what_to_do() -> None:
    told = run("--only", "variables", CLIPSERVE_PROT="1")
    assert told.exit_code == 0
    first, second, last = told.stdout.splitlines()
    assert first.split() == [
        "warning",
        "variables",
        "CLIPSERVE_PROT",
        "is",
        "no",
        "setting,",
        "and",
        "is",
        "ignored",
    ]
    assert second.split()[0] == "->"
    assert last == "no problems, 1 warning"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "moon"], "--only moon: no such check. There are: settings, variables"),
        (["--bundle", "report.rar"], "the name must end with .zip or .tar.gz"),
        (["--bundle", "/nowhere/report.zip", "--only", "tls"], "no such file or directory"),
        (["--url", "localhost:8080"], "--url: write http://host:port"),
        (["--operations-url", "http://localhost:8082"], "are for --url"),
        (["--moon"], "No such option"),
    ],
)
def test_wrong_use_is_status_2(words: list[str], said: str) -> None:
    told = run(*words)
    assert told.exit_code == 2
    assert said in told.stderr


def test_a_start_of_the_service_loads_no_checks_and_no_http_client() -> None:
    program = "import sys, clipserve.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "clipserve.commands.doctor.command" in loaded
    assert not {"httpx2", "clipserve.commands.asking", "clipserve.commands.doctor.table", "onnxruntime"} & {
        *loaded
    }


@pytest.mark.slow
def test_ports_of_a_service_that_runs_here_are_a_warning() -> None:
    process = Process(backend="onnx", threads=1)
    process.wait_ready()
    port = int(process.url.rpartition(":")[2])
    told = doctor("--only", "ports", port=port, grpc_port=0, operations_port=0)
    assert (
        f"a clipserve runs here already, process {process.popen.pid} (python" in told.only("warning")["found"]
    )
    process.stop()


def test_the_document_has_every_check_as_the_tables_have_it() -> None:
    text = DOCUMENT.read_text()
    for name, checks in (("here", HERE), ("there", THERE)):
        shown = text.partition(f"<!-- checks {name} -->\n")[2].partition("\n<!-- end of checks -->")[0]
        assert shown == as_markdown(checks), f"replace the table in docs/doctor.md by:\n{as_markdown(checks)}"


def test_the_document_says_of_every_check_what_to_do() -> None:
    text = DOCUMENT.read_text()
    for name in {check.name for check in HERE} | {check.name for check in THERE}:
        assert f"- **`{name}`**" in text, name
