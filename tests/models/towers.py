"""Small architectures of the two families, and random weights of any, for tests of what is built from weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np
import tokenizers

from clipserve.clip.manifest import ImageSpec, ScoringSpec, TextSpec
from clipserve_models.architecture import Activation, Architecture, Bert, ImageTower, ResNet, TextTower
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.model_files import Checkpoint
from clipserve_models.roles import roles
from clipserve_models.tensors import Floats, Tensor

CLIP_IMAGE = ImageTower(
    width=64,
    layers=2,
    heads=4,
    mlp=128,
    activation="quick_gelu",
    epsilon=1e-5,
    size=32,
    patch=8,
    pooling="class",
    pre_norm=True,
    patch_bias=False,
    projection=True,
)
CLIP_TEXT = TextTower(
    width=32,
    layers=2,
    heads=2,
    mlp=128,
    activation="quick_gelu",
    epsilon=1e-5,
    vocabulary=600,
    context_length=77,
    causal=True,
    pooling="eot",
    projection_bias=False,
)
CLIP = Architecture(CLIP_IMAGE, CLIP_TEXT, embed_dim=48)
BERT_TEXT = Bert(
    width=32,
    layers=2,
    heads=2,
    mlp=128,
    activation="gelu",
    epsilon=1e-12,
    vocabulary=600,
    context_length=77,
)
CHINESE = Architecture(CLIP_IMAGE, BERT_TEXT, embed_dim=48)

SIGLIP = Architecture(
    image=replace(
        CLIP_IMAGE,
        size=50,
        patch=16,
        activation="gelu_tanh",
        epsilon=1e-6,
        pooling="attention",
        pre_norm=False,
        patch_bias=True,
        projection=False,
    ),
    text=replace(
        CLIP_TEXT,
        vocabulary=600,
        context_length=16,
        activation="gelu_tanh",
        epsilon=1e-6,
        causal=False,
        pooling="last",
        projection_bias=True,
    ),
    embed_dim=64,
)


RESNET = Architecture(ResNet(64, 8, (1, 2, 1, 1), heads=4), CLIP.text, 48)


def vit(architecture: Architecture) -> ImageTower:
    """Its image encoder, which is a transformer."""
    assert isinstance(architecture.image, ImageTower)
    return architecture.image


def words(architecture: Architecture) -> TextTower:
    """Its text encoder, which is CLIP's or SigLIP's."""
    assert isinstance(architecture.text, TextTower)
    return architecture.text


def random_tensors(architecture: Architecture, seed: int = 0) -> dict[str, Tensor]:
    """Every role, drawn when it is read, with values that make each layer matter: no norm is one, no bias zero."""

    def draw(role: str, shape: tuple[int, ...]) -> Floats:
        # Not `hash`, which Python salts in each process.
        drawn = np.random.default_rng([seed, crc32(role.encode())]).standard_normal(shape, np.float32)
        if "norm" in role and role.endswith("weight"):
            return 1 + 0.2 * drawn
        if role.endswith("variance"):
            return drawn**2 + np.float32(0.5)
        return drawn / np.float32(np.sqrt(np.prod(shape[1:]))) if role.endswith("weight") else 0.2 * drawn

    return {role: Tensor(shape, partial(draw, role, shape)) for role, shape in roles(architecture).items()}


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def with_activation(architecture: Architecture, activation: Activation) -> Architecture:
    return replace(
        architecture,
        image=replace(vit(architecture), activation=activation),
        text=replace(architecture.text, activation=activation),
    )


def write_graphs(folder: Path, architecture: Architecture, tensors: dict[str, Tensor]) -> tuple[Path, Path]:
    """image.onnx and text.onnx of these weights."""
    folder.mkdir(exist_ok=True)
    image, text = folder / "image.onnx", folder / "text.onnx"
    dim = architecture.embed_dim
    write_image(image, architecture.image, dim, image_weights(architecture.image, tensors, MEAN, STD))
    write_text(text, architecture.text, dim, text_weights(architecture.text, tensors))
    return image, text


def checkpoint_of(
    architecture: Architecture, seed: int = 0, tensors: Mapping[str, Tensor] | None = None
) -> Checkpoint:
    """A model with a tokenizer of single bytes, and squashed images for SigLIP; random weights by default."""
    causal = architecture.text.pooling != "last"
    return Checkpoint(
        architecture=architecture,
        tensors=tensors or random_tensors(architecture, seed),
        image=ImageSpec(size=architecture.image.size, resize="shortest" if causal else "squash"),
        mean=MEAN,
        std=STD,
        text=TextSpec(
            context_length=architecture.text.context_length,
            padding="trim" if architecture.text.trims else "fixed",
            eot_id=257,
        ),
        tokenizer=_bytes(),
        scoring=ScoringSpec(logit_scale=3.25),
        files=(),
    )


def _bytes() -> tokenizers.Tokenizer:
    """256 tokens, then those that begin and end a text."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, "<begin>", "<end>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", 256), ("<end>", 257)]
    )
    return tokenizer
