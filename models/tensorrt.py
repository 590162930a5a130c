"""Plans for TensorRT: the two graphs of an artifact, compiled for the GPU of the machine that runs this.

A plan works with the version of TensorRT that made it, on the kind of GPU it was made on: build it inside the
Triton image that will serve it, on the node that will serve it.

Each plan has one optimization profile, from one row to `max_batch_size` rows and, for texts, over all lengths that
the service pads to.

fp16 is asked of TensorRT up to 10, which computes LayerNormalization (an operator of its own since opset 17) in
fp32 also then; its sums of squares would overflow. TensorRT 11 takes all precisions from the graph.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelsError
from models.triton_config import Tower, TritonOptions, towers
from models.triton_repository import PLANS
from service.clip.artifact import read_manifest, verify_files

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Shapes of a graph's inputs, rows included, by name."""

    smallest: dict[str, Shape]
    usual: dict[str, Shape]
    largest: dict[str, Shape]


def build(folder: Path, options: TritonOptions, *, fp16: bool, say: Callable[[str], None]) -> None:
    """Write image.plan and text.plan into the artifact; minutes for each.

    Raises:
        ArtifactError: `folder` is not a sound artifact.
        ModelsError: there is no TensorRT or no GPU here, or TensorRT cannot build the plan.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    compile_graph = _compiler()
    for tower in towers(manifest, options):
        plan = folder / PLANS[tower.graph]
        say(f"{tower.graph} -> {plan} ...")
        compile_graph(folder / tower.graph, plan, profile(tower), fp16)


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
    """How TensorRT's own tool is asked for a plan."""

    def spell(inputs: dict[str, Shape]) -> str:
        return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in inputs.items())

    return [
        trtexec,
        f"--onnx={graph}",
        f"--saveEngine={plan}",
        f"--minShapes={spell(shapes.smallest)}",
        f"--optShapes={spell(shapes.usual)}",
        f"--maxShapes={spell(shapes.largest)}",
        "--skipInference",
        *(["--fp16"] if fp16 else []),
    ]


def _with_rows(tower: Tower, shape: tuple[Shape, ...], rows: int) -> dict[str, Shape]:
    return {
        tensor.name: (rows, *(dims if tensor.graph_dims is None else tensor.graph_dims))
        for tensor, dims in zip(tower.inputs, shape, strict=True)
    }


def _compiler() -> Callable[[Path, Path, Profile, bool], None]:
    """With TensorRT's Python package, else with its command-line tool."""
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


def _run_trtexec(trtexec: str, graph: Path, plan: Path, shapes: Profile, fp16: bool) -> None:
    command = trtexec_command(trtexec, graph, plan, shapes, fp16)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise ModelsError("\n".join([f"trtexec cannot build {plan}:", *lines]))


def _run_tensorrt(trt: Any, graph: Path, plan: Path, shapes: Profile, fp16: bool) -> None:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    if builder is None:
        raise ModelsError("TensorRT finds no GPU here.")
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        raise ModelsError(f"TensorRT cannot read {graph}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    if fp16:
        if not hasattr(trt.BuilderFlag, "FP16"):
            raise ModelsError(
                f"TensorRT {trt.__version__} takes the precision from the graph: export an artifact in fp16, or "
                "build with --fp32."
            )
        config.set_flag(trt.BuilderFlag.FP16)
    chosen = builder.create_optimization_profile()
    for name, shape in shapes.usual.items():
        chosen.set_shape(name, shapes.smallest[name], shape, shapes.largest[name])
    config.add_optimization_profile(chosen)
    made = builder.build_serialized_network(network, config)
    if made is None:
        raise ModelsError(f"TensorRT cannot build {plan}; its own messages are above.")
    plan.write_bytes(made)
