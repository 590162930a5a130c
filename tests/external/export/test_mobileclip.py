"""MobileCLIP's image encoders have branches for training, which an export merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.architectures import shorten


@pytest.mark.parametrize("name", ["MobileCLIP2-S0", "MobileCLIP2-S4"])
def test_branches_are_merged_and_the_vectors_stay(name: str, tmp_path: Path) -> None:
    import open_clip
    import torch

    from clipserve_models.traced import reparameterize

    model = open_clip.create_model(shorten(tmp_path, name)).eval()
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.encode_image(images, normalize=True)
        assert branches(model)
        reparameterize(model.visual)
        assert not branches(model)
        difference = (model.encode_image(images, normalize=True) - before).abs().max()
    assert difference < 1e-6


def branches(model: Any) -> list[str]:
    """The branches of timm's blocks that only training needs."""
    found = ("conv_kxk", "conv_scale", "identity", "small_conv")
    return [
        f"{name}.{each}"
        for name, module in model.visual.named_modules()
        for each in found
        if type(module).__name__ in ("MobileOneBlock", "ReparamLargeKernelConv")
        and getattr(module, each, None) is not None
    ]
