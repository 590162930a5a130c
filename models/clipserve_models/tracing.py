"""open_clip's modules -> ONNX graphs, in the precision of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipserve.clip.manifest import TextSpec
from clipserve_models import uint8_rule
from clipserve_models.towers import ImageEncoder, TextEncoder, WholeTextEncoder

OPSET = 18
# A protobuf message cannot be larger than 2 GiB. Weights larger than this are written to a file beside the graph.
_INLINE_BYTES = 1_800_000_000


def trace_image(model: Any, size: int, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the graph of the image tower; `dtype` is that of its weights, `size` that of its images in pixels.

    Raises:
        ModelsError: the graph breaks the rule of `clipserve_models.uint8_rule`.
    """
    config = model.visual.preprocess_cfg
    encoder = ImageEncoder(model.visual, config["mean"], config["std"], dtype).eval()
    pixels = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("N")
    _trace(encoder, {"pixels": pixels}, {"pixels": {0: batch}}, path)
    uint8_rule.obey(path)


def trace_text(encoder: TextEncoder | WholeTextEncoder, text: TextSpec, path: Path) -> None:
    """Write the graph of the text tower."""
    trims = text.padding == "trim"
    length = 5 if trims else text.context_length
    batch, tokens = torch.export.Dim("N"), torch.export.Dim("L", max=text.context_length)
    inputs = {
        "token_ids": torch.ones(2, length, dtype=torch.int32),
        "lengths": torch.full((2,), length, dtype=torch.int32),
    }
    shapes = {"token_ids": {0: batch, 1: tokens} if trims else {0: batch}, "lengths": {0: batch}}
    _trace(encoder, inputs, shapes, path)


def _trace(module: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any], path: Path) -> None:
    size = sum(weight.nbytes for weight in module.state_dict().values())
    program = torch.onnx.export(
        module,
        kwargs=inputs,
        input_names=list(inputs),
        output_names=["embedding"],
        opset_version=OPSET,
        dynamic_shapes=shapes,
        verbose=False,
    )
    assert program is not None  # of the exporter that takes dynamic_shapes
    # The result of an nn.Embedding has this name too, and a graph with two values of one name is invalid.
    (result,) = program.model.graph.outputs
    for value in (value for node in program.model.graph for value in node.outputs):
        if value.name == result.name and value is not result:
            value.name = "looked_up"
    program.save(path, external_data=size > _INLINE_BYTES)
