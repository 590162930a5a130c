"""Plans for TensorRT: the two graphs of an artifact, compiled for the GPU of the machine that runs this.

A plan works with the version of TensorRT that made it, on the kind of GPU it was made on: build it inside the
Triton image that will serve it, on the node that will serve it.

Beside the plans lies their record, plans.json (`models.plans`): what they were built from and what they compute in.
Each plan has one optimization profile, from one row to `max_batch_size` rows and, for texts, over all lengths that
the service pads to.

fp16 is asked of TensorRT up to 10, which computes LayerNormalization (an operator of its own since opset 17) in
fp32 also then; its sums of squares would overflow. TensorRT 11 and newer take all precisions from the graph and
have no fp16 mode: there only fp32 can be built. TF32, which is on by default, is off: the fingerprint says fp32.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelsError
from models.plans import PLANS, RECORD_NAME, write_record
from models.triton_config import RepositoryOptions, Tower, towers
from service.clip.artifact import read_manifest, verify_files

Shape = tuple[int, ...]
_FIRST_WITHOUT_FP16 = 11  # of TensorRT's major versions


@dataclass(frozen=True)
class Profile:
    """Shapes of a graph's inputs, rows included, by name."""

    smallest: dict[str, Shape]
    usual: dict[str, Shape]
    largest: dict[str, Shape]


def build(folder: Path, options: RepositoryOptions, *, fp16: bool, say: Callable[[str], None]) -> None:
    """Write image.plan, text.plan and their record, plans.json, into the artifact; minutes for each plan.

    Raises:
        ArtifactError: `folder` is not a sound artifact.
        ModelsError: there is no TensorRT or no GPU here, or TensorRT cannot build the plan.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    compile_graph = _compiler()
    version = None
    for tower in towers(manifest, options):
        plan = folder / PLANS[tower.graph]
        say(f"{tower.graph} -> {plan} ...")
        version = compile_graph(folder / tower.graph, plan, profile(tower), fp16)
    record = write_record(folder, manifest, "fp16" if fp16 else manifest.precision, version)
    fingerprint = manifest.fingerprint(precision=record.narrower(manifest))
    say(f"{folder / RECORD_NAME}: {fingerprint}, TensorRT {version or 'of unknown version'}")


def profile(tower: Tower) -> Profile:
    """From one row of the shortest text to a full batch of the longest; tuned for a full batch of short ones."""
    rows = tower.policy.max_batch_size
    shapes = tower.shapes
    return Profile(
        _with_rows(tower, shapes[0], 1),
        _with_rows(tower, shapes[min(1, len(shapes) - 1)], rows),
        _with_rows(tower, shapes[-1], rows),
    )


def trtexec_command(trtexec: str, graph: Path, plan: Path, shapes: Profile, fp16: bool) -> list[str]:
    """The command that builds a plan with TensorRT's own tool, trtexec."""

    def shapes_of(inputs: dict[str, Shape]) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in inputs.items())

    return [
        trtexec,
        f"--onnx={graph}",
        f"--saveEngine={plan}",
        f"--minShapes={shapes_of(shapes.smallest)}",
        f"--optShapes={shapes_of(shapes.usual)}",
        f"--maxShapes={shapes_of(shapes.largest)}",
        "--skipInference",
        "--noTF32",
        *(["--fp16"] if fp16 else []),
    ]


def _with_rows(tower: Tower, shape: tuple[Shape, ...], rows: int) -> dict[str, Shape]:
    return {
        tensor.name: (rows, *(dims if tensor.graph_dims is None else tensor.graph_dims))
        for tensor, dims in zip(tower.inputs, shape, strict=True)
    }


def trtexec_version(output: str) -> str | None:
    """TensorRT's version as its own tool says it in its output: "10.3.0"; None if it does not."""
    if said := re.search(r"TensorRT version: (\d+\.\d+\.\d+)", output):
        return said[1]
    # The first line: "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] ...", which is "v8601" up to TensorRT 9.
    if said := re.search(r"\[TensorRT v(\d{1,2}?)(\d\d?)(\d\d)\]", output):
        return ".".join(str(int(part)) for part in said.groups())
    return None


def refuse_fp16(version: str) -> None:
    """Raises ModelsError if this version of TensorRT has no fp16 mode."""
    if int(version.partition(".")[0]) >= _FIRST_WITHOUT_FP16:
        raise ModelsError(
            f"TensorRT {version} takes the precision from the graph and has no fp16 mode: build with --fp32."
        )


def _compiler() -> Callable[[Path, Path, Profile, bool], str | None]:
    """A function that builds a plan and returns TensorRT's version: with its Python package, else with trtexec."""
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError:
        trtexec = shutil.which("trtexec")
        if trtexec is None:
            raise ModelsError(
                "plans are built on the GPU that will serve them, with TensorRT; here is neither its Python "
                "package (tensorrt) nor trtexec."
            ) from None
        return lambda *job: _run_trtexec(trtexec, *job)
    return lambda *job: _run_tensorrt(tensorrt, *job)


def _run_trtexec(trtexec: str, graph: Path, plan: Path, shapes: Profile, fp16: bool) -> str | None:
    command = trtexec_command(trtexec, graph, plan, shapes, fp16)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    output = done.stdout + done.stderr
    version = trtexec_version(output)
    if fp16 and version:
        refuse_fp16(version)
    if done.returncode != 0:
        raise ModelsError("\n".join([f"trtexec cannot build {plan}:", *output.strip().splitlines()[-5:]]))
    return version


def _run_tensorrt(trt: Any, graph: Path, plan: Path, shapes: Profile, fp16: bool) -> str:
    version = str(trt.__version__)
    if fp16:
        refuse_fp16(version)
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    if builder is None:
        raise ModelsError("TensorRT finds no GPU here.")
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise ModelsError(f"TensorRT cannot read {graph}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if fp16:
        config.set_flag(trt.BuilderFlag.FP16)
    chosen = builder.create_optimization_profile()
    for name, shape in shapes.usual.items():
        chosen.set_shape(name, shapes.smallest[name], shape, shapes.largest[name])
    config.add_optimization_profile(chosen)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise ModelsError(f"TensorRT cannot build {plan}; its own messages are above.")
    plan.write_bytes(made)
    return version
