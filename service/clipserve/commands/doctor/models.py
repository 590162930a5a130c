"""Checks of artifacts and of what computes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from clipserve.clip.artifact import ArtifactError, read_manifest, verify_files
from clipserve.clip.images import ImageLimits
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.cpu import features
from clipserve.commands.doctor.findings import Finding, ok, problem
from clipserve.engine.fastest import MIN_AGREEMENT
from clipserve.settings import ModelSettings
from clipserve.settings.engine import EngineSettings
from clipserve.wiring.model_names import find

SECONDS = 110.0  # of one trial: a large model, tried on two engines


def models(context: Context) -> Iterator[Finding]:
    """Each artifact: its manifest, its files against their checksums, its tokenizer."""
    names: dict[str, Path] = {}
    for model in context.settings.models:
        try:
            folder = find(model, context.settings)
            manifest = read_manifest(folder)
            verify_files(folder, manifest)
            load_tokenizer(folder, manifest.text)
        except ArtifactError as error:
            yield problem(
                str(error), "export it again, copy it again, or correct CLIPSERVE_MODELS (docs/models.md)"
            )
            continue
        size = sum((folder / name).stat().st_size for name in manifest.files)
        yield ok(
            f"{manifest.fingerprint()} in {folder}: {len(manifest.files)} files as exported, {size / 1e6:,.0f} MB"
        )
        if manifest.name in names:
            yield problem(
                f"{folder} and {names[manifest.name]} are both named {manifest.name}",
                "leave one of them out of CLIPSERVE_MODELS",
            )
        names[manifest.name] = folder
    strangers = context.settings.model_settings.keys() - names
    if strangers and len(names) == len(context.settings.models):
        yield problem(
            f"CLIPSERVE_MODEL_SETTINGS is about {', '.join(sorted(strangers))}, which is not served",
            f"correct the name; served are {', '.join(names)}",
        )


def engines(context: Context) -> Iterator[Finding]:
    """The self-test of each artifact on the engine that would serve it, in a process of its own; why that one."""
    for folder, manifest, own in context.models():
        if own.backend == "triton":
            yield ok(f"{manifest.name}: Triton, as CLIPSERVE_BACKEND says: see `triton`")
            continue
        answer = _tried(folder, own)
        if error := answer.get("error"):
            yield problem(f"{manifest.name}: {error}", _remedy(str(error)))
            continue
        narrower = answer["narrower"]
        limits = ImageLimits(**{each.name: getattr(own, each.name) for each in fields(ImageLimits)})
        yield ok(
            f"{manifest.name}: {answer['engine']} on {_runs_on(answer)} in {narrower or manifest.precision}, "
            f"{_why(context, own, answer)}; self-test in {answer['seconds']:g} s, lowest cosine "
            f"{answer['cosine']:.6f}; served as {manifest.fingerprint(*limits.choices, precision=narrower)}"
        )


def _tried(folder: Path, own: ModelSettings) -> dict[str, Any]:
    settings = own.model_dump(mode="json", include=set(EngineSettings.model_fields))
    try:
        ended = _run(json.dumps({"folder": str(folder.absolute()), "settings": settings}))
    except subprocess.TimeoutExpired:
        return {"error": f"the self-test did not end within {SECONDS:g} s"}
    if ended.returncode < 0:
        return {
            "error": f"the process of the self-test was ended by {signal.Signals(-ended.returncode).name}"
        }
    try:
        answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return {
            "error": f"the process of the self-test ended with status {ended.returncode}: {said[0][:300]}"
        }
    return answer


def _run(question: str) -> subprocess.CompletedProcess[str]:
    """A trial, which ends when this process does: it sees the other end of its standard input closed."""
    command = [sys.executable, "-P", "-m", "clipserve.commands.doctor.trial", question]
    reading, held = os.pipe()
    try:
        return subprocess.run(  # noqa: S603 - this Python, and a question that it reads as JSON
            command, stdin=reading, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    finally:
        os.close(reading)
        os.close(held)


def _remedy(error: str) -> str:
    if "SIGKILL" in error or "emory" in error:
        return "give it more memory: see `memory`; `dmesg` tells whether the kernel ended it"
    if "self-test of" in error:
        return "do not serve it: set CLIPSERVE_BACKEND=onnx and CLIPSERVE_DEVICE=cpu, or export it again"
    if "device=cuda" in error or "CUDA" in error:
        return "run nvidia-smi, and see `gpu`; or set CLIPSERVE_DEVICE=auto"
    return "see `models`; if the files are as exported, set CLIPSERVE_BACKEND=onnx, and report it"


def _runs_on(answer: dict[str, Any]) -> str:
    return "CUDA" if answer["cuda"] else "the CPU"


def _why(context: Context, own: ModelSettings, answer: dict[str, Any]) -> str:
    """Why this engine: what `engine.choice` and `engine.fastest` went by."""
    if own.backend != "auto":
        return f"as CLIPSERVE_BACKEND={own.backend} says"
    if answer["cuda"]:
        return "because CUDA runs"
    for event in answer["events"]:
        if event["event"] == "engine_tried":
            return _why_tried(event, str(answer["engine"]))
        if event["event"] == "engine_passed_over":
            return f"because {event['engine']} failed: {str(event['error'])[:200]}"
    if "bf16" not in features(context.machine):
        return "because this CPU has no bf16, which is what OpenVINO is for"
    return "because OpenVINO is not installed (pip install 'clipserve[openvino]')"


def _why_tried(other: dict[str, Any], chosen: str) -> str:
    """Of two that were measured, `other` is not the standard."""
    what = f"{other['engine']} in {other['precision'] or 'fp32'}"
    took = f"{other['ms_per_call']:g} ms a call"
    if other["cosine"] < MIN_AGREEMENT:
        return f"because {what} is at cosine {other['cosine']:.4f} to it, below {MIN_AGREEMENT} ({took})"
    return (
        f"the faster of two ({took})" if chosen == other["engine"] else f"because {what} is slower ({took})"
    )
