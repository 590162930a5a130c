"""The upper limit: decodes and encodes in a loop, without a server.

The same steps as requests for vectors: a JPEG, Pillow's decoder, the reference resize and crop, one call of the
engine. Each thread decodes and encodes its batch. The best engine and arrangement depend on the machine.

`limit` compares a service of this checkout with the best loop in the precision of the service. The loop's own
spread is the noise of the machine: differences within it mean nothing.
"""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import typer
from PIL import Image

from loadtests.bodies import embed, photo
from loadtests.client import ask
from loadtests.closed_loop import calls_per_second, run
from loadtests.commands import Artifact, Rounds, Seconds
from loadtests.load import median
from loadtests.observe import Others
from loadtests.process import started
from loadtests.report import machine_facts, table
from loadtests.turns import interleaved, ratios

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Encode = Callable[[Pixels], object]  # uint8 [N, S, S, 3] -> vectors, in any of the loop's threads


@dataclass(frozen=True)
class Arrangement:
    """`loops` threads, each with calls of `threads` threads on `batch` images."""

    engine: Literal["onnxruntime", "openvino"]
    precision: str
    loops: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"bare loop, {self.engine} {self.precision}, {self.loops} x {self.threads}, batches of {self.batch}"


def arrangements(precision: str, cores: int) -> list[Arrangement]:
    """What to try for an artifact of this precision here: one wide loop and narrow ones, with each engine.

    An fp32 artifact is computed in bf16 too, where the CPU can.
    """
    narrow = Arrangement("onnxruntime", precision, cores, 1, 8)
    found = [replace(narrow, loops=1, threads=cores, batch=1), narrow]
    try:
        import openvino as ov
    except ImportError:
        return found
    found.append(replace(narrow, engine="openvino"))
    if precision == "fp32" and "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found += [Arrangement("openvino", "bf16", cores, 1, 8), Arrangement("openvino", "bf16", 1, cores, 16)]
    return found


def bare_loops(artifact: Path, image: bytes) -> dict[str, Callable[[float], float]]:
    """Arrangement -> function of seconds that runs the loop for so long and returns images a second."""
    manifest = json.loads((artifact / "model.json").read_text("utf-8"))
    arranged = arrangements(manifest.get("precision", "fp32"), len(os.sched_getaffinity(0)))

    def loop(each: Arrangement) -> Callable[[float], float]:
        encode = (_onnxruntime if each.engine == "onnxruntime" else _openvino)(artifact / "image.onnx", each)
        size = manifest["image"]["size"]

        def call() -> None:
            encode(np.stack([_pixels(image, size) for _ in range(each.batch)]))

        return lambda seconds: each.batch * calls_per_second(call, seconds, each.loops)

    return {str(each): loop(each) for each in arranged}


def _onnxruntime(graph: Path, arranged: Arrangement) -> Encode:
    options = ort.SessionOptions()
    options.intra_op_num_threads = arranged.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})


def _openvino(graph: Path, arranged: Arrangement) -> Encode:
    import openvino as ov

    precision = "bf16" if arranged.precision == "bf16" else "f32"
    options = {
        "NUM_STREAMS": str(arranged.loops),
        "INFERENCE_NUM_THREADS": str(arranged.loops * arranged.threads),
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    compiled = ov.Core().compile_model(graph, "CPU", options)
    of_this_thread = threading.local()

    def encode(pixels: Pixels) -> object:
        if not hasattr(of_this_thread, "request"):
            of_this_thread.request = compiled.create_infer_request()
        return of_this_thread.request.infer({"pixels": pixels}, share_inputs=True)

    return encode


def _pixels(image: bytes, size: int) -> Pixels:
    picture = Image.open(io.BytesIO(image))
    short = min(picture.size)
    resized = picture.resize(
        (int(size * picture.width / short), int(size * picture.height / short)), Image.Resampling.BICUBIC
    )
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)).convert("RGB"))


def limit(artifact: Artifact, clients: int = 8, rounds: Rounds = 15, seconds: Seconds = 3.0) -> None:
    """Throughput of /embed beside bare loops on photos of 640 x 480, interleaved; medians."""
    image, others, facts = photo(640, 480), Others(), machine_facts()
    with started("clipserve", models=str(artifact), max_queue_seconds=60) as server:
        loops: dict[str, Callable[[float], float]] = {
            f"/embed, {clients} clients": lambda seconds: run(
                server.url, embed(image), clients, seconds
            ).goodput()
        }
        precision = ask(server.url, embed(image))["fingerprint"].rpartition("@")[2].partition("-")[0]
        loops |= {
            name: loop for name, loop in bare_loops(artifact, image).items() if f" {precision}," in name
        }
        rates = interleaved(loops, seconds, rounds, float)
    best = max((own for name, own in rates.items() if name.startswith("bare loop")), key=median)
    rows = [
        [name, f"{median(own):.1f}", f"{min(own):.1f} to {max(own):.1f}", f"{ratios(own, best)[0]:.2f}"]
        for name, own in rates.items()
    ]
    typer.echo(table(("", "images/s", "lowest to highest", "of the best loop"), rows))
    typer.echo(f"{facts['CPU']} ({facts['instructions']}), {facts['cores']} cores; {others.warning()}")
