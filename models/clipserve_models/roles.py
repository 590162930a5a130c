"""The name and shape of every tensor that the two encoders of an architecture compute with.

Weights of linear layers are [out, in], as PyTorch has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clipserve_models.architecture import (
    AnyTextTower,
    Architecture,
    Bert,
    ImageTower,
    ResNet,
    TextTower,
    Tower,
)
from clipserve_models.errors import ModelsError
from clipserve_models.tensors import Tensor

Shape = tuple[int, ...]


def roles(architecture: Architecture) -> dict[str, Shape]:
    """The shape of every tensor of both encoders, by role.

    Roles of an encoder begin with `image.` or `text.`, those of a block with `image.blocks.0.`; a layer has
    `.weight` and mostly `.bias`. `qkv` are the projections to queries, keys and values, in this order.
    """
    tower, dim = architecture.image, architecture.embed_dim
    image = _resnet(tower, dim) if isinstance(tower, ResNet) else _image(tower, dim)
    text = {f"text.{role}": shape for role, shape in _text(architecture.text, dim)}
    return {f"image.{role}": shape for role, shape in image} | text


def check_tensors(needed: Mapping[str, Shape], tensors: Mapping[str, Tensor]) -> None:
    """Compare tensors by role with the needed ones, `roles` of an architecture.

    Raises:
        ModelsError: one is missing, has another shape or no role, or is not of floating point.
    """
    for role in (*needed, *tensors):
        wanted, found = needed.get(role), tensors.get(role)
        if found is None or wanted is None:
            have, lack = ("architecture", "weights") if found is None else ("weights", "architecture")
            raise ModelsError(
                f"{role!r} is among the tensors of the {have} and not of the {lack}: these are other weights "
                "than those of the configuration."
            )
        if found.shape != wanted:
            raise ModelsError(
                f"the tensor {role!r} has the shape {list(found.shape)}; the configuration says {list(wanted)}."
            )
        if not found.floating:
            raise ModelsError(f"the tensor {role!r} is of integers; needed: F32, F16 or BF16.")


def _image(tower: ImageTower, dim: int) -> Iterator[tuple[str, Shape]]:
    width = tower.width
    for role, inputs, outputs, side in tower.cuts:
        yield f"{role}.weight", (outputs, inputs, side, side)
        if tower.patch_bias:
            yield f"{role}.bias", (outputs,)
    if tower.prefix:
        yield "prefix", (tower.prefix, width)
    elif tower.before:
        yield "class", (width,)
    yield "positions", (tower.grid**2 + tower.before, width)
    if tower.pre_norm:
        yield from _norm("pre_norm", width)
    yield from _blocks(tower)
    yield from _norm("norm", width)
    if tower.pooling == "attention":
        yield "pool.probe", (width,)
        yield from _linear("pool.q", width, width)
        yield from _linear("pool.kv", 2 * width, width)
        yield from _linear("pool.out", width, width)
        yield from _mlp("pool", tower)
    if tower.projection:
        yield "projection.weight", (dim, width)
    if tower.stem or tower.projection_bias:
        yield "projection.bias", (dim,)


def _resnet(tower: ResNet, dim: int) -> Iterator[tuple[str, Shape]]:
    width = tower.width
    for each in tower.convolutions:
        yield f"{each.role}.weight", (each.outputs, each.inputs, each.kernel, each.kernel)
        for part in ("weight", "bias", "mean", "variance"):
            yield f"{each.role}.norm.{part}", (each.outputs,)
    yield "positions", (tower.grid**2 + 1, width)
    for role in ("q", "k", "v"):
        yield from _linear(role, width, width)
    yield from _linear("projection", dim, width)


def _text(tower: AnyTextTower, dim: int) -> Iterator[tuple[str, Shape]]:
    yield "tokens", (tower.vocabulary, tower.width)
    yield "positions", (tower.context_length, tower.width)
    yield from _blocks(tower)
    yield from _norm("norm", tower.width)
    hidden = tower.hidden if isinstance(tower, Bert) else None
    if hidden:
        yield "hidden.weight", (hidden, tower.width)
    yield "projection.weight", (dim, hidden or tower.width)
    if isinstance(tower, TextTower) and tower.projection_bias:
        yield "projection.bias", (dim,)


def _blocks(tower: Tower) -> Iterator[tuple[str, Shape]]:
    for block in (f"blocks.{index}" for index in range(tower.layers)):
        yield from _norm(f"{block}.norm1", tower.width)
        yield from _linear(f"{block}.qkv", 3 * tower.width, tower.width)
        yield from _linear(f"{block}.out", tower.width, tower.width)
        yield from _mlp(block, tower, "norm2")


def _mlp(where: str, tower: Tower, norm: str = "norm") -> Iterator[tuple[str, Shape]]:
    yield from _norm(f"{where}.{norm}", tower.width)
    yield from _linear(f"{where}.up", tower.mlp, tower.width)
    yield from _linear(f"{where}.down", tower.width, tower.mlp)


def _linear(role: str, outputs: int, inputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{role}.weight", (outputs, inputs)
    yield f"{role}.bias", (outputs,)


def _norm(role: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{role}.weight", (width,)
    yield f"{role}.bias", (width,)
