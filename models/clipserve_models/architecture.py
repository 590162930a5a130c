"""What a CLIP is: the record between the readers of layouts and the writers of graphs.

`roles` names every tensor that the two encoders compute with. Weights of linear layers are [out, in], as PyTorch
has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from clipserve_models.errors import ModelsError
from clipserve_models.tensors import Tensor

# x * Phi(x); its approximation with tanh; x * sigmoid(1.702 x), which OpenAI's CLIP has.
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tower:
    """A transformer with its norms before attention and MLP. `epsilon`: added to the variance by every norm."""

    width: int
    layers: int
    heads: int
    mlp: int
    activation: Activation
    epsilon: float

    def __post_init__(self) -> None:
        """Raises ModelsError: no such transformer can be."""
        if self.layers < 1 or self.heads < 1 or self.width % self.heads:
            raise ModelsError(
                f"{self.layers} layers, {self.heads} heads and a width of {self.width} are no transformer: it "
                "needs a layer, and a width that its heads divide. Correct the model's configuration."
            )


@dataclass(frozen=True)
class ImageTower(Tower):
    """A vision transformer on images of `size` pixels, cut into patches of `patch`; what is left over is dropped.

    `pooling`: `class` is the state of a token before the patches; `attention` asks the patches with a learned
    query, and passes the answer through an MLP of its own (SigLIP). `pre_norm`: a norm before the first block.
    """

    size: int
    patch: int
    pooling: Literal["class", "attention"]
    pre_norm: bool
    patch_bias: bool
    projection: bool  # else W is D

    @property
    def grid(self) -> int:
        """Patches in a row."""
        return self.size // self.patch


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias and its batch norm. `kernel`, `stride`: of both sides, pixels."""

    role: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class ResNet:
    """OpenAI's ResNet on images of `size` pixels.

    It begins with three convolutions, has average pools in place of strides, and ends with an attention whose query
    is the mean of the states.

    `stem`: channels before the first stage; `layers`: blocks of each stage; `heads`: of the attention.
    """

    size: int
    stem: int
    layers: tuple[int, ...]
    heads: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raises ModelsError: no such network can be."""
        object.__setattr__(self, "layers", tuple(self.layers))
        stages = len(self.layers) == 4 and min(self.layers) > 0 and self.stem % 2 == 0
        if not stages or self.heads < 1 or self.width % self.heads:
            raise ModelsError(
                f"{list(self.layers)} blocks, {self.heads} heads and a width of {self.stem} are no ResNet: it "
                "needs four stages, and a width that its heads divide. Correct the model's configuration."
            )

    @property
    def width(self) -> int:
        """Channels after the last stage."""
        return 32 * self.stem

    @property
    def grid(self) -> int:
        """States in a row after the last stage."""
        return self.size // 32

    def stages(self) -> Iterator[tuple[str, int, list[Convolution]]]:
        """The blocks: role, step of the pool between its convolutions, and these; a fourth is beside them."""
        before = self.stem
        for stage, count in enumerate(self.layers):
            inner = self.stem * 2**stage
            for index in range(count):
                role, step = f"stage{stage}.{index}", 2 if stage and not index else 1
                convolutions = [
                    Convolution(f"{role}.1", before, inner, 1),
                    Convolution(f"{role}.2", inner, inner, 3),
                    Convolution(f"{role}.3", inner, 4 * inner, 1),
                ]
                if not index:
                    convolutions.append(Convolution(f"{role}.beside", before, 4 * inner, 1))
                yield role, step, convolutions
                before = 4 * inner

    @property
    def first(self) -> list[Convolution]:
        """Those before the first stage."""
        half = self.stem // 2
        return [
            Convolution("stem.1", 3, half, 3, 2),
            Convolution("stem.2", half, half, 3),
            Convolution("stem.3", half, self.stem, 3),
        ]

    @property
    def convolutions(self) -> list[Convolution]:
        return [*self.first, *(each for _, _, convolutions in self.stages() for each in convolutions)]


AnyImageTower = ImageTower | ResNet


@dataclass(frozen=True)
class TextTower(Tower):
    """A transformer on tokens. `pooling`: the state where the text ends, or the last, padding included."""

    vocabulary: int
    context_length: int
    causal: bool
    pooling: Literal["eot", "last"]
    projection_bias: bool

    @property
    def trims(self) -> bool:
        """Whether the encoder sees nothing after the end of a text, so that no padding is needed."""
        return self.causal and self.pooling == "eot"


@dataclass(frozen=True)
class Architecture:
    """The two encoders, whose embeddings have `embed_dim` numbers."""

    image: AnyImageTower
    text: TextTower
    embed_dim: int

    def __post_init__(self) -> None:
        """Raises ModelsError: the two do not meet in one space."""
        if (
            isinstance(self.image, ImageTower)
            and not self.image.projection
            and self.image.width != self.embed_dim
        ):
            raise ModelsError(
                f"an image encoder of width {self.image.width} without a projection gives no embedding of "
                f"{self.embed_dim} numbers, as that of texts has. Correct the model's configuration."
            )


def roles(architecture: Architecture) -> dict[str, Shape]:
    """The shape of every tensor of both encoders, by role."""
    dim = architecture.embed_dim
    return tower_roles(architecture.image, dim) | tower_roles(architecture.text, dim)


def tower_roles(tower: AnyImageTower | TextTower, embed_dim: int) -> dict[str, Shape]:
    """The shape of every tensor of one encoder, by role.

    Roles of an encoder begin with `image.` or `text.`, those of a block with `image.blocks.0.`; a layer has
    `.weight` and mostly `.bias`. `qkv` are the projections to queries, keys and values, in this order.
    """
    if isinstance(tower, ImageTower):
        return {f"image.{role}": shape for role, shape in _image(tower, embed_dim)}
    if isinstance(tower, ResNet):
        return {f"image.{role}": shape for role, shape in _resnet(tower, embed_dim)}
    return {f"text.{role}": shape for role, shape in _text(tower, embed_dim)}


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
    width, has_class = tower.width, tower.pooling == "class"
    yield "patch.weight", (width, 3, tower.patch, tower.patch)
    if tower.patch_bias:
        yield "patch.bias", (width,)
    if has_class:
        yield "class", (width,)
    yield "positions", (tower.grid**2 + has_class, width)
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


def _text(tower: TextTower, dim: int) -> Iterator[tuple[str, Shape]]:
    yield "tokens", (tower.vocabulary, tower.width)
    yield "positions", (tower.context_length, tower.width)
    yield from _blocks(tower)
    yield from _norm("norm", tower.width)
    yield "projection.weight", (dim, tower.width)
    if tower.projection_bias:
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
