"""Plans for TensorRT: the two graphs of an artifact, compiled for the GPU of the machine that runs this.

A plan works with the version of TensorRT that made it, on the kind of GPU it was made on. Where TensorRT is and
clipserve is not, `clipserve_models.plan_lines` has the same as a script. Beside the plans lies their record
(`clipserve_models.plans`).
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipserve.clip.artifact import read_manifest, verify_files
from clipserve_models import trtexec
from clipserve_models.errors import ModelsError
from clipserve_models.plans import PLANS, RECORD_NAME, Profile, profiles, write_record
from clipserve_models.triton_options import RepositoryOptions
from clipserve_models.triton_server import gpu_here
from clipserve_models.triton_towers import towers

Compiler = Callable[[Path, Path, Sequence[Profile]], None]  # graph, plan, profiles


def build(folder: Path, options: RepositoryOptions, *, say: Callable[[str], None]) -> None:
    """Write image.plan, text.plan and their record, plans.json, into the artifact; minutes for each plan.

    Raises:
        ArtifactError: `folder` is not a sound artifact.
        ModelsError: there is no TensorRT of a version that can do it or no GPU here, or it cannot build the plan.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    version, compile_graph = _compiler()
    gpu = gpu_here()
    if gpu is None:
        raise ModelsError(
            "nvidia-smi finds no GPU here, and plans are built on the GPU that will serve them. Run it there, or "
            f"take the script that `clipserve models plan-lines {folder}` writes."
        )
    made = towers(manifest, options)
    for tower in made:
        plan = folder / PLANS[tower.graph]
        say(f"{tower.graph} -> {plan} ...")
        compile_graph(folder / tower.graph, plan, profiles(tower))
    write_record(folder, manifest, made, version, gpu)
    say(f"{folder / RECORD_NAME}: {manifest.fingerprint()}, TensorRT {version}, {gpu}")


def _compiler() -> tuple[str, Compiler]:
    """TensorRT's version, and what builds a plan: its Python package, else trtexec."""
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError:
        program = shutil.which("trtexec")
        if program is None:
            raise ModelsError(
                "plans are built on the GPU that will serve them, with TensorRT; here is neither its Python "
                "package (tensorrt) nor trtexec."
            ) from None
        said = _run([program, "--help"])
        version = trtexec.accepted(trtexec.version_of(said.stdout + said.stderr))
        return version, lambda *job: _run_trtexec(program, *job)
    version = trtexec.accepted(str(tensorrt.__version__))
    return version, lambda *job: _run_tensorrt(tensorrt, *job)


def _run_trtexec(program: str, graph: Path, plan: Path, shapes: Sequence[Profile]) -> None:
    done = _run(trtexec.command(program, graph, plan, shapes))
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise ModelsError("\n".join([f"trtexec cannot build {plan}:", *last]))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments


def _run_tensorrt(trt: Any, graph: Path, plan: Path, shapes: Sequence[Profile]) -> None:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    if builder is None:
        raise ModelsError("TensorRT finds no GPU here.")
    # TensorRT 11 is strongly typed with and without the flag, and keeps its name.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise ModelsError(f"TensorRT cannot read {graph}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    for each in shapes:
        chosen = builder.create_optimization_profile()
        for name, shape in each.usual.items():
            chosen.set_shape(name, each.smallest[name], shape, each.largest[name])
        config.add_optimization_profile(chosen)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise ModelsError(f"TensorRT cannot build {plan}; its own messages are above.")
    plan.write_bytes(made)
