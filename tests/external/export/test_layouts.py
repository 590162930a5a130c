"""Models that transformers and open_clip saved, built from their files: bytes and strings give their vectors.

pytest tests/external/export/test_layouts.py -rP prints the table.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ModelManifest, Source
from clipserve.clip.reference import gradient_and_noise, lowest_cosine
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.architecture import ResNet
from clipserve_models.build import build
from clipserve_models.layouts import read
from clipserve_models.layouts.open_clip_folder import ARCHITECTURES, architecture_of
from clipserve_models.model_files import Checkpoint
from clipserve_models.verify import Graph
from tests.external.export.saved_models import SAVED, Reference, of_block
from tests.golden.make_architectures import architectures
from tests.golden.make_tokens import hurting_strings
from tests.models.towers import vit

SOURCE = Source(checkpoint="a test's", licence="none", random_weights=True)
MIN_COSINE, MAX_DIFFERENCE = 0.999999, 1e-5


@dataclass(frozen=True)
class Built:
    name: str
    checkpoint: Checkpoint
    folder: Path
    manifest: ModelManifest
    reference: Reference


@pytest.fixture(scope="module", params=SAVED)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    save, reference = SAVED[request.param]
    files, out = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("out") / "model"
    save(files)
    checkpoint = read(files)
    manifest = build(checkpoint, out, name="model", source=SOURCE, say=lambda _: None)
    return Built(request.param, checkpoint, out, manifest, reference(files))


@cache
def texts() -> list[str]:
    """2,000 on which tokenizers tend to disagree, without those that no tokenizer takes."""
    strings = hurting_strings(2_000, seed=20261129)
    return [text for text in strings if not any(0xD800 <= ord(char) < 0xE000 for char in text)]


def photos(size: int) -> list[bytes]:
    """Files with even margins once they are resized: at odd ones transformers crops a pixel beside torchvision."""
    files = []
    for width, height in ((3 * size, 2 * size), (2 * size, 3 * size), (2 * size + 11,) * 2, (size, size)):
        gradient, noise = gradient_and_noise(width, height)
        file = io.BytesIO()
        Image.fromarray(((gradient + noise) // 2).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def test_heads_epsilon_activation_scale_and_bias_are_those_of_the_library(built: Built) -> None:
    architecture = built.checkpoint.architecture
    towers = {"image": architecture.image, "text": architecture.text}
    own = {
        name: (each.heads, each.epsilon, getattr(each, "activation", "relu")) for name, each in towers.items()
    }
    assert own == built.reference.facts
    assert built.manifest.scoring.logit_scale == pytest.approx(built.reference.scale, rel=1e-6)
    bias = built.manifest.scoring.logit_bias if built.manifest.scoring.function == "sigmoid" else None
    assert bias == built.reference.bias


def test_pixels_are_those_of_the_library(built: Built) -> None:
    mean, std = (np.reshape(each, (3, 1, 1)) for each in (built.checkpoint.mean, built.checkpoint.std))
    for photo in photos(built.manifest.image.size):
        own = decode_pixels(photo, built.manifest.image, ImageLimits()).transpose(2, 0, 1)
        np.testing.assert_allclose((own / 255 - mean) / std, built.reference.pixels(photo), atol=1e-5)


def test_ids_are_those_of_the_library(built: Built) -> None:
    tokenizer, length = load_tokenizer(built.folder, built.manifest.text), built.manifest.text.context_length
    own, _ = tokenizer.pad(tokenizer.encode(texts(), truncate=True), length)
    wrong = [
        ascii(text)
        for text, a, b in zip(texts(), own, built.reference.ids(texts()), strict=True)
        if (a != b).any()
    ]
    assert not wrong, f"{len(wrong)} of {len(texts())}: {wrong[:10]}"


def test_vectors_are_those_of_the_library(built: Built) -> None:
    manifest, reference = built.manifest, built.reference
    files = photos(manifest.image.size)[:2]
    pixels = np.stack([decode_pixels(photo, manifest.image, ImageLimits()) for photo in files])
    own = Graph(built.folder / "image.onnx").run({"pixels": pixels})
    theirs = reference.image_vectors(np.stack([reference.pixels(photo) for photo in files]))

    each = 20 if manifest.text.context_length < 100 else 200  # a text of 256 tokens takes PyTorch a second
    tokenizer, some = load_tokenizer(built.folder, manifest.text), texts()[::each]
    rows = tokenizer.encode(some, truncate=True)
    token_ids, lengths = tokenizer.pad(rows, manifest.text.context_length)
    own_texts = Graph(built.folder / "text.onnx").run({"token_ids": token_ids, "lengths": lengths})
    their_texts = reference.text_vectors(reference.ids(some))

    for what, a, b in (("images", own, theirs), ("texts", own_texts, their_texts)):
        cosine, difference = lowest_cosine(a, b), float(np.abs(a - b).max())
        print(
            f"{built.name:28} {len(a):4} {what:6} lowest cosine {cosine:.8f}, largest difference {difference:.1e}"
        )
        assert cosine > MIN_COSINE
        assert difference < MAX_DIFFERENCE


def test_the_stored_architectures_are_open_clips() -> None:
    of_tests = re.compile(r"tiny.*|.*-short")
    found = {
        name: facts for name, facts in json.loads(architectures()).items() if not of_tests.fullmatch(name)
    }
    assert json.loads(ARCHITECTURES.read_text("utf-8")) == found


@pytest.mark.parametrize(
    "name",
    [
        # By day the one whose activation is not that of the SigLIP above.
        pytest.param(each, marks=[pytest.mark.nightly] * (each != "ViT-B-16-SigLIP"))
        for each in json.loads(ARCHITECTURES.read_text("utf-8"))
    ],
)
def test_every_architecture_has_the_facts_that_open_clip_gives_its_modules(name: str) -> None:
    import open_clip
    import torch

    from clipserve_models.layouts.facts import Facts

    config = open_clip.get_model_config(name)
    own = architecture_of(Facts(name, config))
    with torch.device("meta"):
        kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
        model = kind(**config)
    if isinstance(own.image, ResNet):
        shapes = {name: tuple(value.shape) for name, value in model.visual.state_dict().items()}
        kernels = {shapes[f"{name}.weight"] for name in ("conv1", "conv2", "conv3", "layer4.0.conv2")}
        assert {
            (each.outputs, each.inputs, each.kernel, each.kernel) for each in own.image.convolutions
        } >= kernels
        assert model.visual.attnpool.num_heads == own.image.heads
        return
    trunk = getattr(model.visual, "trunk", None)
    image = model.visual.transformer.resblocks if trunk is None else trunk.blocks
    text = getattr(model, "text", model).transformer.resblocks
    for tower, blocks in ((vit(own), image), (own.text, text)):
        told = (tower.heads, tower.epsilon, tower.activation)
        assert (tower.layers, told) == (len(blocks), of_block(blocks[0]))
