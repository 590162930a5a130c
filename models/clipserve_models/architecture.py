"""What a CLIP is: the record between the readers of layouts and the writers of graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clipserve_models.errors import ModelsError

# x * Phi(x); its approximation with tanh; x * sigmoid(1.702 x), which OpenAI's CLIP has.
Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]


@dataclass(frozen=True)
class Tower:
    """A transformer. `epsilon`: added to the variance by every norm."""

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
    query, and passes the answer through an MLP of its own (SigLIP); `mean` is theirs. `pre_norm`: a norm before the
    first block. `prefix`: learned states before the patches, the class token first; None: that alone, if it pools.
    `norm_last`: the mean is normed, not the states.
    """

    size: int
    patch: int
    pooling: Literal["class", "attention", "mean"]
    pre_norm: bool
    patch_bias: bool
    projection: bool  # else W is D
    stem: int | None = None  # channels of two convolutions before the patches' own (MobileCLIP-B)
    projection_bias: bool | None = None
    prefix: int | None = None
    norm_last: bool | None = None

    @property
    def before(self) -> int:
        """States before the patches."""
        return int(self.pooling == "class") if self.prefix is None else self.prefix

    @property
    def cuts(self) -> list[tuple[str, int, int, int]]:
        """The convolutions that make states of pixels: role, channels before and after, side and stride."""
        if self.stem is None:
            return [("patch", 3, self.width, self.patch)]
        first = [("stem.0", 3, self.stem, 4), ("stem.1", self.stem, self.stem, 2)]
        return [*first, ("patch", self.stem, self.width, self.patch // 8)]

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
class Bert(Tower):
    """BERT: a norm follows each attention and MLP, and the embeddings. A text's vector is its first state's.

    Padding is not seen. The role `positions` has the embedding of the first type of tokens added. `hidden`: numbers
    inside of a projection of two layers; None: it is one layer.
    """

    vocabulary: int
    context_length: int
    hidden: int | None = None

    @property
    def pooling(self) -> Literal["first"]:
        return "first"

    @property
    def trims(self) -> bool:
        """Whether no padding is needed."""
        return True


AnyTextTower = TextTower | Bert


@dataclass(frozen=True)
class Architecture:
    """The two encoders, whose embeddings have `embed_dim` numbers."""

    image: AnyImageTower
    text: AnyTextTower
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
