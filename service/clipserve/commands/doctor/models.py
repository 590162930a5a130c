"""Checks of artifacts, of the engines that compute them, and of the GPU."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.clip.artifact import ArtifactError, verify_files
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.commands.doctor.limits import BF16, cpu_features
from clipserve.wiring.model_names import NoSuchModel, find, opened

if TYPE_CHECKING:  # it loads onnxruntime
    from clipserve.engine.cuda import CudaFacts

_DRIVER = Path("/proc/driver/nvidia/version")  # a container sees its host's
SECONDS = 110.0  # timeout of a trial: a large model on two engines


def models(context: Context) -> Iterator[Finding]:
    """Check each artifact: its manifest, the checksums of its files, its tokenizer."""
    names: dict[str, Path] = {}
    for model in context.settings.models:
        try:
            (found,) = opened([find(model, context.settings)])
            folder, manifest = found.folder, found.served
            verify_files(folder, manifest)
            load_tokenizer(folder, manifest.text)
        except NoSuchModel as error:
            absent, remedy = str(error).split(": ", 1)
            yield problem(absent, remedy)
            continue
        except ArtifactError as error:
            yield problem(str(error), "export it again, copy it again, or correct CLIPSERVE_MODELS")
            continue
        size = sum((folder / name).stat().st_size for name in manifest.files)
        yield ok(
            f"{manifest.fingerprint()} in {folder}: {len(manifest.files)} files as exported, {size / 1e6:,.0f} MB"
        )
        if manifest.name in names:
            yield problem(
                f"{folder} and {names[manifest.name]} are both named {manifest.name}",
                f"give one of them another name in CLIPSERVE_MODELS: OTHER={folder}",
            )
        names[manifest.name] = folder
    others = context.settings.model_settings.keys() - names
    if others and len(names) == len(context.settings.models):
        yield problem(
            f"CLIPSERVE_MODEL_SETTINGS is about {', '.join(sorted(others))}, which is not served",
            f"correct the name; served are {', '.join(names)}",
        )


def engines(context: Context) -> Iterator[Finding]:
    """Run the self-test of each artifact on the engine that would serve it, in a separate process."""
    features = set(cpu_features(context))
    for folder, manifest, settings in context.models():
        if not settings.backend_kind.in_process:
            yield ok(f"{manifest.name}: Triton, as CLIPSERVE_BACKEND says: see `triton`")
            continue
        if settings.backend_kind.bf16 and features and not features & BF16:
            yield warning(
                f"CLIPSERVE_BACKEND={settings.backend} for {manifest.name} is for CPUs with bf16, and this CPU has "
                "none: it computes in fp32, no faster than onnxruntime, in half as much memory again",
                "set CLIPSERVE_BACKEND=auto, or take a CPU with AVX-512 BF16 or AMX",
            )
        found, error = _tried(folder)
        yield (
            problem(f"{manifest.name}: {error}", _remedy(error)) if error else ok(f"{manifest.name}: {found}")
        )


def triton(context: Context) -> Iterator[Finding]:
    """Check each server of each model on Triton."""
    wanted = [model for model in context.models() if not model[2].backend_kind.in_process]
    if not wanted:
        yield ok("nothing to check: no model is computed on Triton")
        return
    from clipserve.commands.doctor.triton import examined  # loads tritonclient, which is optional

    for model in wanted:
        yield from asyncio.run(examined(*model))


def gpu(context: Context) -> Iterator[Finding]:
    """Check whether there is a GPU, and whether it is used."""
    from clipserve.engine.cuda import look

    yield from used(look(), {each.device for _, _, each in context.models() if each.backend_kind.cuda})


def used(facts: CudaFacts, wanted: set[str], driver: Path = _DRIVER) -> Iterator[Finding]:
    """`wanted`: the `device` of each model that onnxruntime may compute. `driver`: a file of NVIDIA's driver."""
    from clipserve.engine.cuda import why_not

    reason, there = why_not(facts), facts.driver.present
    yield ok(
        f"{facts.driver}; onnxruntime {f'for CUDA {facts.built_for}' if facts.provider else 'without CUDA'}"
    )
    if reason and "cuda" in wanted:
        yield problem(
            f"CLIPSERVE_DEVICE=cuda, and {reason.found}", f"{reason.do}; or set CLIPSERVE_DEVICE=auto"
        )
    elif not there and driver.exists():
        yield warning(
            f"NVIDIA's driver is here ({driver}), but no GPU is",
            "in a container give it one: docker run --gpus all, or nvidia.com/gpu in Kubernetes; on the machine "
            "itself run nvidia-smi",
        )
    elif there and wanted <= {"cpu"}:
        yield ok("the GPU is not used: CLIPSERVE_DEVICE=cpu, or the encoders run on Triton, or in OpenVINO")
    elif there and reason:
        yield warning(
            f"the GPU is not used: {reason.found}",
            f"{reason.do}; or set CLIPSERVE_DEVICE=cpu, if that is what you want",
        )
    elif there:
        yield ok("the GPU is used, if a graph runs on it: see `engines`")


def _tried(folder: Path) -> tuple[str, str]:
    """The answer of `trial`, or why there is none."""
    command = [sys.executable, "-P", "-m", "clipserve.commands.doctor.trial", str(folder.absolute())]
    reading, held = os.pipe()  # the trial ends with this process, whose end closes the pipe
    try:
        ended = subprocess.run(  # noqa: S603 - this Python, and a folder
            command, stdin=reading, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"the self-test did not end within {SECONDS:g} s"
    finally:
        os.close(reading)
        os.close(held)
    if ended.returncode < 0:
        return "", f"the self-test was ended by {signal.Signals(-ended.returncode).name}"
    nothing = f"the self-test ended with status {ended.returncode}, and said nothing"
    answer = (ended.stdout.strip() or ended.stderr.strip() or nothing).splitlines()[-1]
    return ("", answer) if ended.returncode else (answer, "")


def _remedy(error: str) -> str:
    if "SIGKILL" in error or "emory" in error:
        return "give it more memory: see `memory`; `dmesg` tells whether the kernel ended it"
    if "self-test of" in error:
        return "do not serve it: set CLIPSERVE_BACKEND=onnx and CLIPSERVE_DEVICE=cpu, or export it again"
    if "device=cuda" in error or "CUDA" in error:
        return "run nvidia-smi, and see `gpu`; or set CLIPSERVE_DEVICE=auto"
    return "see `models`; if the files are as exported, set CLIPSERVE_BACKEND=onnx, and report it"
