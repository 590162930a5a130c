"""How faults come into an artifact, or into the service: what `test_sabotage.py` plants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.clip import images
from clipserve.clip.artifact import read_manifest
from clipserve.clip.fitting import fitted
from clipserve.clip.manifest import ImageSpec
from clipserve_models.artifact import checksums, write_manifest

Plant = Callable[[Path, pytest.MonkeyPatch], None]


def _seal(folder: Path, **changes: Any) -> None:
    """Write model.json anew, as somebody does who means it: checksums fit the files."""
    manifest = read_manifest(folder)
    (folder / "model.json").unlink()
    write_manifest(folder, manifest.model_copy(update={**changes, "files": checksums(folder)}))


def in_manifest(part: str, **facts: Any) -> Plant:
    """Other facts in a part of model.json."""

    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        stored = json.loads((folder / "model.json").read_text())
        stored[part] |= facts
        (folder / "model.json").write_text(json.dumps(stored))

    return plant


def in_graph(change: Callable[[Any], None], precision: str = "fp32") -> Plant:
    """`change`: of the image graph, in place."""

    def plant(folder: Path, _: pytest.MonkeyPatch) -> None:
        import onnx

        model = onnx.load(folder / "image.onnx")
        change(model.graph)
        onnx.save(model, folder / "image.onnx")
        if precision == "int8":
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(folder / "image.onnx", folder / "image.onnx")
        _seal(folder, precision=precision)

    return plant


def in_decoder(other: Callable[[Image.Image, ImageSpec], bytes]) -> Plant:
    """`other` in place of what resizes and crops."""

    def plant(_: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(images, "fitted", lambda image, spec, turn: other(image, spec))

    return plant


def bgr(image: Image.Image, spec: ImageSpec) -> bytes:
    """The right pixels, their channels in the other order."""
    return np.frombuffer(fitted(image, spec), np.uint8).reshape(-1, 3)[:, ::-1].tobytes()


def without_antialias(image: Image.Image, spec: ImageSpec) -> bytes:
    """Cubic interpolation between the four nearest pixels, whatever lies between those that are taken."""
    scale = min(image.size) / spec.size
    left, top = ((side - spec.size * scale) / 2 for side in image.size)
    size = spec.size, spec.size
    box = (scale, 0, left, 0, scale, top)
    return image.transform(size, Image.Transform.AFFINE, box, Image.Resampling.BICUBIC).tobytes()


def _weights_of(graph: Any, *dims: int) -> Any:
    return next(each for each in graph.initializer if list(each.dims) == [*dims])


def _change(weights: Any, change: Callable[[Any], Any]) -> None:
    from onnx import numpy_helper

    values = np.ascontiguousarray(change(numpy_helper.to_array(weights)), np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def bgr_in_graph(graph: Any) -> None:
    """The first convolution takes red for blue."""
    _change(_weights_of(graph, 64, 3, 16, 16), lambda values: values[:, ::-1])


def exchange_mean_and_deviation(graph: Any) -> None:
    """The graph has 1 / (255 std) and mean / std."""
    from onnx import numpy_helper

    scale, shift = (
        next(each for each in graph.initializer if each.name == name) for name in ("scale", "shift")
    )
    std = 1 / (255 * numpy_helper.to_array(scale))
    mean = numpy_helper.to_array(shift) * std
    assert (mean > std).all(), "these are others"
    _change(scale, lambda _: 1 / (255 * mean))
    _change(shift, lambda _: std / mean)


def quick_gelu(graph: Any) -> None:
    """erf(x / sqrt 2) of GELU becomes what makes it x * sigmoid(1.702 x)."""
    from onnx import helper, numpy_helper

    factor = np.array(1.702 / 2 * np.sqrt(2), np.float32)
    graph.initializer.append(numpy_helper.from_array(factor, "quick"))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Erf":
            graph.node.append(helper.make_node("Mul", [node.input[0], "quick"], [f"{node.output[0]}/quick"]))
            node = helper.make_node("Tanh", [f"{node.output[0]}/quick"], [node.output[0]])
        graph.node.append(node)


def other_weights(graph: Any) -> None:
    """Another model of the same shapes: each matrix has its numbers in another order."""
    random = np.random.default_rng(0)
    for weights in graph.initializer:
        if len(weights.dims) > 1:
            _change(weights, random.permuted)


def too_large_for_fp16(graph: Any) -> None:
    """One layer gives values of millions, which the next normalization makes small."""
    _change(_weights_of(graph, 64, 3, 16, 16), lambda values: values * 1e6)


def exchange_towers(folder: Path, _: pytest.MonkeyPatch) -> None:
    """Each graph in the file of the other."""
    image, text = (folder / name for name in ("image.onnx", "text.onnx"))
    image.rename(folder / "other")
    text.rename(image)
    (folder / "other").rename(text)
    _seal(folder)
