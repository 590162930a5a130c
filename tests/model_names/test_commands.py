"""Names of models in the settings, and in options of commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipserve.__main__ import cli
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from clipserve.wiring.model_names import with_folders
from tests.model_names.exporter import Exporter, events, left_in
from tests.support.process import ROOT, Process, failed_start, get


def test_the_first_start_exports_before_it_listens_and_the_second_finds_it(
    cache: Path, exporter: Exporter
) -> None:
    service = Process(models="ViT-B-32", backend="onnx")
    service.wait_ready()
    assert [each["id"] for each in get(service.url + "/v1/models").json()["data"]] == ["ViT-B-32"]
    _, log = service.stop()
    told = [line["event"] for line in events(log)]
    assert told.index("exporting_model") < told.index("model_exported") < told.index("ready")
    assert "copying text.onnx" in [line.get("said") for line in events(log)]
    assert left_in(cache) == {"ViT-B-32"}

    assert with_folders(Settings(models=(Path("ViT-B-32"),))).models == (cache / "ViT-B-32",)
    assert exporter.runs == ["export ViT-B-32"]


def test_a_failed_export_ends_the_start_with_the_exporter_s_last_lines(
    cache: Path, exporter: Exporter
) -> None:
    status, said = failed_start(models="unknown")
    assert (status, said) == (
        1,
        f"unknown is neither a folder nor a model in {cache}, and its export ended with status 1: "
        "error: no model named 'unknown'. Similar names: known.",
    )
    assert left_in(cache) == set()


@pytest.mark.parametrize("command", [(), ("serve",)])
def test_the_option_stands_in_place_of_the_variable(
    cache: Path, exporter: Exporter, command: tuple[str, ...]
) -> None:
    status, said = failed_start(*command, "--model", "demo,unknown", models=str(DEMO))
    assert (status, "unknown is neither a folder nor a model in" in said) == (1, True), said


def test_the_option_of_a_command_stands_behind_it() -> None:
    done = CliRunner().invoke(cli, ["--model", "demo", "classify", "cat.jpg"])
    assert done.exit_code == 2
    assert "--model stands behind the command" in done.stderr


def test_a_command_exports_the_model_that_it_is_asked_for(cache: Path, exporter: Exporter) -> None:
    models = {"CLIPSERVE_MODELS": "demo,ViT-L-14", "CLIPSERVE_BACKEND": "onnx"}
    models["CLIPSERVE_DECODE_PROCESSES"] = "false"
    for _ in range(2):
        options = ("--labels", "cat,dog", "--model", "ViT-B-32")
        done = CliRunner().invoke(cli, ["classify", str(ROOT / "docs/cat.jpg"), *options], env=models)
        assert json.loads(done.stdout)["model"] == "ViT-B-32", done.stderr
    assert exporter.runs == ["export ViT-B-32"]


def test_the_doctor_says_what_is_missing_and_exports_nothing(cache: Path, exporter: Exporter) -> None:
    environment = {"CLIPSERVE_MODELS": "demo,ViT-B-32", "CLIPSERVE_BACKEND": "onnx"}
    done = CliRunner().invoke(cli, ["doctor"], env=environment)
    assert done.exit_code == 1, done.stdout
    told = " ".join(done.stdout.split())
    assert f"ViT-B-32 is neither a folder nor a model in {cache}" in told
    assert "`clipserve models export ViT-B-32` makes it" in told
    assert exporter.runs == []
    assert not cache.exists()
