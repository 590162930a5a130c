"""The check of encoders on a GPU: its judgements, and that it runs, here on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from loadtests.gpu_bare.agreement import cosines, judged
from loadtests.gpu_bare.findings import Findings, at_least
from loadtests.gpu_bare.inputs import first, lengths_of, pixels, texts
from loadtests.gpu_bare.nodes import Tower, placed, tower_of
from loadtests.gpu_bare.sessions import Variant
from loadtests.gpu_bare.speed import calls_per_second
from tests.process import ROOT


def checked(folder: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    command = [sys.executable, "-m", "loadtests.gpu_bare", str(DEMO), "--out", str(folder), *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert list(folder.iterdir()), ended.stdout + ended.stderr
    (file,) = folder.iterdir()
    return ended.returncode, ended.stdout, json.loads(file.read_text())


@pytest.mark.slow
def test_it_runs_on_a_cpu_and_every_line_holds(tmp_path: Path) -> None:
    status, said, data = checked(tmp_path, "--device", "cpu", "--seconds", "0.01", "--most", "2")
    lines = {f"{line['part']}, {line['what']}": line["passed"] for line in data["lines"]}
    assert status == 0, said
    assert lines["fp32, image, 2 rows against the CPU, lowest cosine"] is True
    assert lines["fp32, text of 77 tokens, alone against in a batch, lowest cosine"] is True
    assert lines["service, device=cuda with all GPUs hidden"] is True
    assert lines["service, fp32, /classify against the CPU's, same first label"] is True
    assert False not in lines.values()
    assert data["facts"]["fp32"] == read_manifest(DEMO).fingerprint()
    image = [speed for speed in data["speeds"] if speed["what"] == "image"]
    assert [speed["rows"] for speed in image] == [1, 2]
    assert all(speed["run/s"] > 0 < speed["IOBinding/s"] for speed in image)
    assert "| fp32 | image, 2 rows against the CPU, lowest cosine |" in said


def test_without_a_gpu_it_fails_with_the_reason(tmp_path: Path) -> None:
    status, said, data = checked(tmp_path)
    (line,) = data["lines"]
    assert (status, line["what"], line["passed"]) == (1, "CUDA", False)
    assert line["value"].startswith("no NVIDIA GPU is found")
    assert "1 of 1 lines failed" in said


def test_fp32_is_judged_by_the_worst_row_and_fp16_by_the_mean() -> None:
    found = np.array([1.0, 0.99995])
    assert [judged(name, "image", found).passed for name in ("fp32", "fp16", "tf32")] == [False, True, None]
    assert judged("fp16", "image", np.array([1.0, 0.9997])).passed is False


def test_what_is_not_a_number_has_failed() -> None:
    zeros, ones = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    assert at_least("fp32", "image", float(cosines(zeros, ones).min()), 0.9).passed is False


def event(name: str, provider: str = "CUDAExecutionProvider", *shape: int) -> dict[str, Any]:
    return {"op_name": name, "provider": provider, "input_type_shape": [{"float": list(shape)}]}


def test_copies_and_nodes_on_the_cpu_are_counted() -> None:
    events = [event("MatMul"), event("MemcpyToHost"), event("Shape", "CPUExecutionProvider")]
    lines = {line.what: line for line in placed(Variant("fp32", DEMO, cuda=True), "image", events)}
    assert lines["image, nodes on the GPU"].passed is True
    assert lines["image, nodes on the CPU"].value == "1 (Shape 1)"
    assert lines["image, copies between the two (Memcpy nodes)"].value == "1"
    (on_gpu, *_) = placed(Variant("fp32", DEMO, cuda=True), "image", events[2:])
    assert on_gpu.passed is False


def test_the_size_of_a_transformer_is_read_from_its_products() -> None:
    layer = [event("MatMul", "x", 2, 50, width) for width in (768, 768, 768, 3072)]
    attention = [event("MatMul", "x", 2, 12, 50, 64)] * 2
    assert tower_of([event("Conv", "x", 2, 3, 224, 224), *(layer + attention) * 12]) == Tower(768, 12, 50)
    assert tower_of([event("Gemm", "x", 2, 1280)]) is None


def test_inputs_are_as_asked_and_the_same_each_time() -> None:
    images = pixels(3, 32)["pixels"]
    assert (images.shape, images.dtype) == ((3, 32, 32, 3), np.uint8)
    assert (images == pixels(3, 32)["pixels"]).all()
    assert (images[0] != images[1]).any()
    manifest = read_manifest(DEMO)
    feeds = texts(5, 16, load_tokenizer(DEMO, manifest.text))
    assert feeds["token_ids"].shape == (5, 16)
    assert feeds["lengths"].max() <= 16
    assert first(feeds, 2, 1)["lengths"].tolist() == feeds["lengths"][1:3].tolist()
    assert lengths_of(manifest.text) == [16, 32, 77]
    assert lengths_of(TextSpec(context_length=64, padding="fixed")) == [64]


def test_each_thread_makes_its_calls_after_two_that_warm_up() -> None:
    made: list[int] = []
    rate = calls_per_second(lambda: made.append(0), seconds=0, threads=2)
    assert (len(made), rate > 0) == (2 + 2 * 3, True)


def test_what_goes_wrong_is_a_line_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings("cuda")
    with findings.trying("fp16", "image"):
        raise RuntimeError("CUDA failure 2:\n out of memory")
    with findings.trying("fp16", "text"):
        pass
    (line,) = findings.failed
    assert (line.part, line.what, line.value) == (
        "fp16",
        "image",
        "RuntimeError: CUDA failure 2: out of memory",
    )
    assert "FAIL  fp16: image" in capsys.readouterr().out


def test_the_file_is_named_for_the_gpu(tmp_path: Path) -> None:
    findings = Findings("cuda", {"GPU": "one"})
    assert findings.write(tmp_path, "NVIDIA H100 80GB HBM3").name == "bare-nvidia-h100-80gb-hbm3.json"
