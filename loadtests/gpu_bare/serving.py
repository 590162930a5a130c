"""The service itself on the device: what it says it runs on, how fast it answers, and whether it says the same."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.bodies import Call, always, classify, embed, embed_many
from loadtests.closed_loop import run
from loadtests.gpu_bare.findings import Findings, Line
from loadtests.gpu_bare.inputs import jpegs
from loadtests.process import Server, started

_LABELS = ["a photo of a cat", "a dog", "a red car", "the sea at night", "an old house"]
_ASKED = 12  # images that both classify
_MOST_APART = {"fp32": 1e-3, "fp16": 1e-2}  # of two scores
_IN_A_REQUEST = 16

Scores = dict[str, float]  # by label


def measured(
    findings: Findings, artifact: Path, name: str, device: str, seconds: float, clients: int
) -> None:
    """Start the service on the device and on the CPU, one after the other."""
    images = jpegs(max(_ASKED, _IN_A_REQUEST))
    with _service(artifact, device) as server:
        engine = _engine(server)
        expected = "onnxruntime-cuda" if device == "cuda" else "onnxruntime"
        findings.add(Line("service", f"{name}, engine", engine, expected, engine == expected))
        answers = [_scores(server, image) for image in images[:_ASKED]]
        one, several = embed(images[0]), embed_many(images[:_IN_A_REQUEST])
        for what, call, rows in (("one image", one, 1), (f"{_IN_A_REQUEST} images", several, _IN_A_REQUEST)):
            load = run(server.url, always(call), clients, seconds)
            findings.add_speed(
                part="service",
                variant=name,
                what=f"/embed, JPEG 640 x 480, {what} in a request, {clients} clients",
                **{"run/s": load.goodput() * rows},
                failed=load.failed,
            )
        findings.facts[f"nvidia-smi beside the service, {name}"] = nvidia_smi()
    with _service(artifact, "cpu") as server:
        on_cpu = [_scores(server, image) for image in images[:_ASKED]]
    findings.add(*_same(name, answers, on_cpu))


def _service(artifact: Path, device: str) -> AbstractContextManager[Server]:
    return started("clipserve", models=str(artifact), device=device, backend="onnx", max_queue_seconds=60)


def refused(artifact: Path) -> Line:
    """With `cuda` and all GPUs hidden the service must not start, and must say why."""
    settings = {"models": str(artifact), "device": "cuda", "port": "0", "grpc_enabled": "false"}
    hidden = {f"CLIPSERVE_{name.upper()}": value for name, value in settings.items()}
    hidden |= {"CUDA_VISIBLE_DEVICES": "", "CLIPSERVE_OPERATIONS_ENABLED": "false"}
    command, what = [sys.executable, "-m", "clipserve"], "device=cuda with all GPUs hidden"
    try:
        ended = subprocess.run(command, env=os.environ | hidden, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return Line("service", what, "it started", "refused", passed=False)
    said = re.search(r"device=cuda, but [^\"]*", ended.stdout + ended.stderr)
    value = said[0] if said else f"status {ended.returncode}, without a reason"
    return Line("service", what, value, "refused", said is not None and ended.returncode != 0)


def nvidia_smi() -> str:
    """Name, driver, memory, memory in use, watts and clock of each GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none"
    asked = "--query-gpu=name,driver_version,memory.total,memory.used,power.limit,clocks.max.sm"
    told = subprocess.run([command, asked, "--format=csv,noheader"], capture_output=True, text=True)
    return "; ".join(told.stdout.split("\n")[:-1]) or told.stderr.strip()[:200]


def _same(name: str, answers: Sequence[Scores], on_cpu: Sequence[Scores]) -> list[Line]:
    pairs = list(zip(answers, on_cpu, strict=True))
    apart = max(abs(one[label] - two[label]) for one, two in pairs for label in one)
    firsts = sum(max(one, key=one.__getitem__) == max(two, key=two.__getitem__) for one, two in pairs)
    bound, what = _MOST_APART[name], f"{name}, /classify against the CPU's"
    return [
        Line("service", f"{what}, same first label", f"{firsts} of {_ASKED}", f"{_ASKED}", firsts == _ASKED),
        Line("service", f"{what}, scores apart", f"{apart:.6f}", f"<= {bound}", apart <= bound),
    ]


def _engine(server: Server) -> str:
    assert server.metrics_url is not None
    with urllib.request.urlopen(server.metrics_url) as answer:
        found = re.search(r'^clipserve_model_info{engine="([^"]*)"', answer.read().decode(), re.MULTILINE)
    return found[1] if found else "unknown"


def _scores(server: Server, image: bytes) -> Scores:
    answer = _post(server.url, classify(image, _LABELS))
    (result,) = json.loads(answer)["results"]
    return {each["label"]: each["score"] for each in result["labels"]}


def _post(url: str, call: Call) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", call.path, call.body, {"Content-Type": call.content_type})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{call.path} answered {answer.status}: {body[:300]!r}")
        return body
    finally:
        connection.close()
