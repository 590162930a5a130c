"""Image encoders of the catalog, traced: TensorRT can read each graph, and MobileCLIP's branches are merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.catalog import read_catalog
from tests.external.export.test_export import entry
from tests.models.architectures import ALL, shorten

# `export` ignores the warnings of torch, too.
pytestmark = pytest.mark.filterwarnings("ignore")

# The tests of fp16 variants export these and look at the rule too.
ELSEWHERE = {"ViT-B-32", "RN50", "ViT-B-16-SigLIP2"}
MODELS = sorted({each.model for each in read_catalog().values()} - (set() if ALL else ELSEWHERE))
# By day one that open_clip and timm build in another way than those.
BY_DAY = ("MobileCLIP2-S4",)


@pytest.mark.parametrize(
    "model",
    [pytest.param(each, marks=[pytest.mark.nightly] * (each not in BY_DAY)) for each in MODELS],
)
def test_the_image_graph_of_each_architecture_reads_pixels_in_one_cast(model: str, tmp_path: Path) -> None:
    """In fp32, and with EXPORT_ALL in half precision, as the tests of fp16 variants do for each kind of model."""
    import onnx
    import open_clip
    import torch

    from clipserve_models import checkpoint, tensorrt_types, traced

    # The text tower is not looked at.
    short = shorten(tmp_path, model, {"vocab_size": 400}, narrow=model in BY_DAY)
    with torch.no_grad():
        for dtype in (torch.float32, traced.HALF)[: 1 + ALL]:
            built, _ = checkpoint.load(entry(short), weights=None, random_weights=True, seed=0)
            size = int(np.ravel(built.visual.preprocess_cfg["size"])[0])  # a number, or two
            dim = open_clip.get_model_config(short)["embed_dim"]
            images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
            before = built.encode_image(images, normalize=True)
            assert bool(branches(built)) == model.startswith("MobileCLIP")
            traced.trace_image(built, size, tmp_path / "image.onnx", dim, dtype)
            assert not branches(built)
            if model.startswith("MobileCLIP") and dtype is torch.float32:
                assert (built.encode_image(images, normalize=True) - before).abs().max() < 1e-6
            graph = onnx.load(tmp_path / "image.onnx", load_external_data=False).graph
            assert tensorrt_types.violations(graph) == []
            assert [node.op_type for node in graph.node if "pixels" in node.input] == ["Cast"]


def branches(model: Any) -> list[str]:
    """The branches of timm's blocks that only training needs."""
    found = ("conv_kxk", "conv_scale", "identity", "small_conv")
    return [
        f"{name}.{branch}"
        for name, module in model.visual.named_modules()
        for branch in found
        if type(module).__name__ in ("MobileOneBlock", "ReparamLargeKernelConv")
        and getattr(module, branch, None) is not None
    ]
