"""`python -m loadtests gpu-check` without a GPU: what it would run, and how it reads what it is told.

tests/triton/test_gpu_check.py runs it against a real Triton.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from typer.testing import CliRunner

from clipserve.demo import FOLDER as DEMO
from clipserve_models.triton_options import DEFAULTS
from clipserve_models.triton_repository import write_repository
from loadtests.__main__ import cli
from loadtests.gpu import docker, perf_analyzer, report
from loadtests.gpu.command import PLANS, _checked
from loadtests.gpu.facts import GpuUse, gpu_facts, slug
from loadtests.gpu.faithful import Cosines
from loadtests.gpu.faithful import report as cosines_report
from loadtests.gpu.inputs import Inputs, bounds
from loadtests.gpu.servers import Counted
from loadtests.gpu.variants import Variant, allow_tf32, export, plan_commands, variants

IMAGES = docker.Images("nvidia/tritonserver:26.05-py3", "nvidia/tensorrt:26.05-py3")
NVIDIA_SMI = """#!/bin/sh
case $1 in
  *utilization*) echo "83, 2048, 410.5" ;;
  *) echo "NVIDIA H100 80GB HBM3, 580.65.06, 81559, 700.00, 9.0, 1980" ;;
esac
"""


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of nvidia-smi."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_on_a_gpu_four_variants_are_compared_and_tf32_is_not_served(tmp_path: Path) -> None:
    fp32, fp16 = tmp_path / "M", tmp_path / "M@fp16"
    made = variants("gpu", fp32, fp16)
    assert [(each.name, each.artifact, each.backend, each.served) for each in made] == [
        ("ort-fp32", fp32, "onnxruntime", True),
        ("ort-tf32", fp32, "onnxruntime", False),
        ("ort-fp16", fp16, "onnxruntime", True),
        ("trt-fp16", fp16, "tensorrt", True),
    ]
    assert variants("cpu", fp32, None) == [Variant("python-fp32", fp32, "python")]


def test_plans_are_built_in_the_tensorrt_image_and_compared_with_the_triton_image(tmp_path: Path) -> None:
    lines, plans, facts, record = (shlex.join(line) for line in plan_commands(tmp_path, IMAGES))
    assert lines.endswith(f"-m clipserve_models plan-lines {tmp_path}")
    assert plans.startswith("docker run --rm --gpus=device=0 --user=")
    volume = f"--volume={tmp_path}:/artifact --entrypoint=sh"
    assert plans.endswith(f"{volume} nvidia/tensorrt:26.05-py3 /artifact/plans.sh")
    assert facts.endswith(f"{volume} nvidia/tritonserver:26.05-py3 /artifact/triton-facts.sh")
    assert record.endswith(f"-m clipserve_models record-plans {tmp_path}")


def test_triton_is_started_as_compose_starts_it_with_ports_of_this_host_alone(tmp_path: Path) -> None:
    line = docker.triton_line(IMAGES.triton, tmp_path, "name", 1111, 2222)
    assert line[-len(docker.TRITON) :] == list(docker.TRITON)
    assert {"--publish=127.0.0.1:1111:8001", "--publish=127.0.0.1:2222:8002"} <= set(line)
    compose = Path("docker-compose.yml").read_text()
    for word in docker.TRITON[2:]:
        assert f"- {word}\n" in compose or f"- {word} #" in compose


def test_tf32_is_allowed_where_onnxruntime_reads_it_and_no_gateway_takes_it(tmp_path: Path) -> None:
    write_repository(DEMO, tmp_path, DEFAULTS["onnxruntime"])
    allow_tf32(tmp_path)
    for path in tmp_path.glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text(), pb.ModelConfig())
        (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert dict(cuda.parameters) == {"use_tf32": "1"}
        assert config.parameters["fingerprint"].string_value.endswith(" in tf32")


def test_rows_are_those_of_the_vocabulary_and_of_the_lengths_they_are_padded_to() -> None:
    inputs = Inputs.of(DEMO)
    for shorter, length in bounds([16, 32, 77]):
        rows = inputs.texts(40, length, shorter)
        assert rows["token_ids"].shape == (40, length)
        assert rows["token_ids"].max() < inputs.tokenizer._encoder.get_vocab_size()
        assert shorter < rows["lengths"].min() <= rows["lengths"].max() <= length
        assert len({row.tobytes() for row in rows["token_ids"]}) == 40
    pixels = inputs.images(3)["pixels"]
    assert pixels.shape == (3, 256, 256, 3)
    assert pixels.dtype == np.uint8


def test_perf_analyzer_is_given_real_rows_and_its_figures_are_read() -> None:
    rows = Inputs.of(DEMO).texts(2, 16)
    data = perf_analyzer.as_json(rows)["data"]
    assert [entry["token_ids"]["shape"] for entry in data] == [[16], [16]]
    assert data[1]["lengths"] == {"content": [int(rows["lengths"][1])], "shape": [1]}
    assert "-b256" in perf_analyzer.line("demo_text", "127.0.0.1:8001", 256, 5)
    text = (
        "Concurrency,Inferences/Second,Client Send,p50 latency,p90 latency,p95 latency,p99 latency\n"
        "6,12000.5,30,2100,2500,2600,3000\n1,4000,30,900,1000,1100,1200\n"
    )
    assert perf_analyzer.parse(text) == [
        {"calls_in_flight": 1, "rows": 4000, "p50": 0.0009, "p99": 0.0012},
        {"calls_in_flight": 6, "rows": 12000.5, "p50": 0.0021, "p99": 0.003},
    ]


def test_what_triton_counts_gives_rows_and_times_of_an_execution() -> None:
    """Of its requests each is given the whole time of the execution that it was part of."""
    before = Counted({("rows", "image"): 10.0})
    after = Counted({
        ("rows", "image"): 90.0,
        ("executions", "image"): 10.0,
        ("requests", "image"): 20.0,
        ("computing", "image"): 200_000.0,
        ("queueing", "image"): 40_000.0,
    })  # fmt: skip
    assert after.since(before, "image") == {
        "rows_an_execution": 8.0,
        "compute_ms": 10.0,
        "queue_ms": 2.0,
        "computed_rows": 800.0,
    }


def test_a_cosine_below_the_bound_of_its_precision_is_told() -> None:
    good = Cosines(0.9999, {"1": 0.9995}, {"16": 0.9999}, 1.0)
    worse = Cosines(0.9999, {"1": 0.9995}, {"16": 0.9985}, 1.0)
    assert cosines_report({"image": good, "text": good}, "fp16")["kept"]
    assert not cosines_report({"image": good, "text": good}, "fp32")["kept"]
    assert not cosines_report({"image": good, "text": worse}, "fp16")["kept"]


def test_the_gpu_and_its_use_are_those_that_nvidia_smi_tells(gpu: None) -> None:
    facts = gpu_facts()
    assert (facts["name"], facts["driver_version"]) == ("NVIDIA H100 80GB HBM3", "580.65.06")
    assert slug(facts["name"]) == "nvidia-h100-80gb-hbm3"
    with GpuUse() as use:
        use._stop.wait(1.2)
    assert use.data == {"busy": 83.0, "memory": 2048.0, "watts": 410.5}


def test_a_report_has_no_nan_and_names_the_gpu_and_the_images(tmp_path: Path) -> None:
    found = {
        "gpu": {"name": "NVIDIA L4", "driver_version": "580"},
        "images": {"triton": "tritonserver@sha256:0"},
        "command": "`python -m loadtests gpu-check`",
        "variants": {"trt-fp16": {"error": "Triton has ended"}},
        "nothing": float("nan"),
    }
    report.write(found, tmp_path / "a" / "check.json")
    assert json.loads((tmp_path / "a" / "check.json").read_text())["nothing"] is None
    said = report.markdown(found)
    assert said.startswith("Measured on NVIDIA L4, driver 580, tritonserver@sha256:0")
    assert "Failed: trt-fp16." in said
    assert not report.good({"error": "Triton has ended"})


def test_what_perf_analyzer_found_is_a_table_and_its_failure_is_none() -> None:
    run = {"calls_in_flight": 6.0, "rows": 12000.5, "p50": 0.0021, "p99": 0.003}
    cosines = {"towers": {}, "bound": 0.999, "kept": True}
    ran = {"cosines": cosines, "rates": {}, "gateways": [], "perf_analyzer": {"text 16": [run]}}
    about = {"gpu": {}, "images": {}, "command": ""}
    said = report.markdown(about | {"variants": {"trt-fp16": ran}})
    assert "| trt-fp16 | text 16 | 6 | 12,000 | 2.1 | 3 |" in said
    failed = ran | {"perf_analyzer": {"error": "not found"}}
    assert "perf_analyzer" not in report.markdown(about | {"variants": {"trt-fp16": failed}})


def test_a_triton_that_ends_is_told_with_the_end_of_its_log_and_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program stands in for Docker."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'plan was built for another GPU' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    made = _checked(Variant("ort-fp32", DEMO, "onnxruntime"), DEMO, PLANS["gpu"], IMAGES)
    assert made["error"].startswith("Triton has ended")
    assert made["error"].endswith("plan was built for another GPU")


def test_a_variant_is_not_made_without_photos_to_judge_it_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path))
    (tmp_path / "M").mkdir()
    with pytest.raises(SystemExit, match=r"M@fp16 is not there.*--photos FOLDER"):
        export("M", None)


def test_pytorch_is_installed_before_a_model_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program stands in for make, and installs one that stands in for Python."""
    python, done, make = tmp_path / "python", tmp_path / "done", tmp_path / "bin" / "make"
    make.parent.mkdir()
    stand_in = f"#!/bin/sh\necho $@ >>{done}\n"
    make.write_text(f"{stand_in}printf '{stand_in}' >{python}\nchmod +x {python}\n")
    make.chmod(0o755)
    monkeypatch.setenv("PATH", str(make.parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(cache))
    export("M", tmp_path, python)
    variant = f"variant {cache}/M --precision fp16 --photos {tmp_path}"
    lines = [".venv-export/export.stamp", "-m clipserve_models export M", f"-m clipserve_models {variant}"]
    assert done.read_text().splitlines() == lines


def test_without_images_or_a_gpu_it_says_what_to_do(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = CliRunner().invoke(cli, ["gpu-check"], env={"TRITON_IMAGE": "", "COLUMNS": "200"})
    assert said.exit_code == 2
    assert "TRITON_IMAGE and TENSORRT_IMAGE name NVIDIA's images" in said.output
    monkeypatch.setenv("PATH", "/nowhere")
    named = {"TRITON_IMAGE": "a", "TENSORRT_IMAGE": "b", "COLUMNS": "200"}
    assert "nvidia-smi finds no GPU here" in CliRunner().invoke(cli, ["gpu-check"], env=named).output
