"""Plain ViTs of timm in open_clip's folders are built without PyTorch, and give what open_clip gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipserve.clip.manifest import Source
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions
from clipserve_models.build import build
from clipserve_models.layouts import read
from clipserve_models.layouts.vit_of_timm import VITS
from tests.external.export.saved_models import CONFIG, MEAN_STD, PLAIN, of_open_clip
from tests.models.layouts.changes import write_json
from tests.models.layouts.saved import check, drawn
from tools.timm_vits import vits

# Model, pool and projection, and what of them no other row has.
ROWS = [
    ("vit_tiny_patch16_224", "", "linear"),
    ("vit_tiny_patch16_224", "avg", "linear"),
    ("vit_tiny_patch16_224", "token", None),
    ("vit_tiny_patch16_224", "avg", None),  # the norm follows the mean
    ("vit_tiny_patch16_224", "map", None),  # a class token that does not pool
    ("vit_xsmall_patch16_clip_224", "", "linear"),  # a norm before the blocks
    (
        "vit_little_patch16_reg1_gap_256",
        "",
        "linear",
    ),  # scales of layers, a register, no class token, no bias
    ("vit_mediumd_patch16_reg4_gap_256", "avg", None),
]


@pytest.mark.parametrize(("name", "pool", "projection"), ROWS)
def test_a_vit_of_timm_is_built_as_open_clip_computes_it(
    name: str, pool: str, projection: str | None, tmp_path: Path
) -> None:
    import open_clip
    from safetensors.torch import save_file

    vision: dict[str, object] = {"timm_model_name": name, "timm_pool": pool, "timm_proj": projection}
    vision |= {"image_size": int(name.rpartition("_")[2])}
    config = {**PLAIN, "custom_text": True, "vision_cfg": vision}
    write_json(tmp_path / CONFIG, {"model_cfg": config, "preprocess_cfg": MEAN_STD})
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    weights = {
        key: torch.from_numpy(drawn(key, tuple(each.shape), "<f4"))
        for key, each in model.state_dict().items()
    }
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    expected = of_open_clip(tmp_path)
    source = Source(checkpoint="drawn", licence="none")
    build(read(tmp_path), tmp_path / "artifact", name="timm", source=source, say=lambda _: None)
    engine = OnnxEngine(tmp_path / "artifact", EngineOptions(threads=2))
    engine.load()
    check(tmp_path / "artifact", expected, engine.run, 0.99999, 1e-3)
    engine.close()


def test_the_stored_vits_are_timms() -> None:
    assert VITS.read_text("utf-8") == vits()
