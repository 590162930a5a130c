"""Pickles that training with open_clip saves, named and described as one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from onnxruntime import InferenceSession

from clipserve.clip.artifact import read_manifest
from clipserve.clip.reference import reference_pixels
from tests.models.asking import ask

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
TOLD = ("--name", "mine", "--mean", *map(str, MEAN), "--std", *map(str, STD))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(model: torch.nn.Module, path: Path) -> Path:
    """As open_clip's training saves it."""
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state}, path)
    return path


@pytest.mark.parametrize(
    ("architecture", "activation"),
    [
        pytest.param("ViT-S-32-alt", "gelu", marks=pytest.mark.nightly),
        ("ViT-S-32-alt", "quick_gelu"),
    ],
)
def test_a_checkpoint_of_training_is_exported_as_it_is_told(
    architecture: str, activation: str, cache: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    quick = activation == "quick_gelu"
    model = open_clip.create_model(architecture, force_quick_gelu=quick).eval()
    file = saved(model, tmp_path / "epoch_1.pt")
    words = ("--activation", "quick_gelu") if quick else ()
    done = ask("export", str(file), "--model", architecture, *TOLD, *words)
    assert done.returncode == 0, done.stderr

    manifest = read_manifest(cache / "mine")
    source = manifest.source
    assert (manifest.name, source.licence, source.pretrained) == ("mine", "not stated", None)
    assert source.checkpoint == "a file of yours: epoch_1.pt"
    assert str(source.revision).startswith("sha256:")
    pixels = reference_pixels(manifest.image.size)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - _channels(MEAN)) / _channels(STD)
    with torch.no_grad():
        expected = model.encode_image(images, normalize=True).numpy()
    (found,) = InferenceSession(cache / "mine/image.onnx").run(None, {"pixels": pixels})
    np.testing.assert_allclose(found, expected, atol=2e-6)


def _channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values).reshape(3, 1, 1)
