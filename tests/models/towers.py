"""Small architectures of the two families, and random weights of any, for tests of what is built from weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clipserve_models.architecture import Architecture, ImageTower, TextTower, roles
from clipserve_models.weights import Tensor, constant

CLIP = Architecture(
    image=ImageTower(
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
    ),
    text=TextTower(
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
    ),
    embed_dim=48,
)

SIGLIP = Architecture(
    image=replace(
        CLIP.image,
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
        CLIP.text,
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


def random_tensors(architecture: Architecture, seed: int = 0) -> dict[str, Tensor]:
    """Every role, with values that make each layer matter: no norm is one, no bias zero."""
    generator = np.random.default_rng(seed)

    def values(role: str, shape: tuple[int, ...]) -> np.ndarray:
        drawn = generator.standard_normal(shape, np.float32)
        if "norm" in role and role.endswith("weight"):
            return 1 + 0.2 * drawn
        return drawn / np.sqrt(np.prod(shape[1:])) if role.endswith("weight") else 0.2 * drawn

    return {role: constant(values(role, shape)) for role, shape in roles(architecture).items()}
