"""The two Triton models that an artifact becomes: their names, tensors and parameters.

    <name>_image   pixels    uint8 [n, S, S, 3]                  -> embedding float32 [n, D]
    <name>_text    token_ids int32 [n, L], lengths int32 [n, 1]  -> embedding float32 [n, D]

Triton wants at least one dimension besides the batch, so it reshapes `lengths` to [n] for the graph. The writer of
Triton's configuration reads this module too; it needs no library of Triton's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from clipserve.clip.manifest import ModelManifest

Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = ("image", "text")
# Rows of a gateway's call, if the model takes so many; from there on a GPU gains little. Triton merges whole calls
# only, so that its models on a GPU take twice as many: two calls of 40 rows run as one of 80.
CALL_ROWS: dict[Tower, int] = {"image": 64, "text": 256}

LENGTHS, EMBEDDING = "lengths", "embedding"
FINGERPRINT = (
    "fingerprint"  # the key of the parameter, in a model's configuration, that says which artifact it is
)


@dataclass(frozen=True)
class Tensor:
    """One input or output of a Triton model.

    Attributes:
        data_type: in the spelling of Triton's model configuration, "TYPE_UINT8".
        dims: on the wire, without the batch; -1: requests have different sizes.
        graph_dims: those of the graph, without the batch; None: the same as `dims`.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    graph_dims: tuple[int, ...] | None = None


def triton_model(manifest: ModelManifest, tower: Tower) -> str:
    """The name of an encoder in Triton, which is also a folder's name: unsafe characters become `-`."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', manifest.name)}_{tower}"


def inputs(manifest: ModelManifest, tower: Tower) -> tuple[Tensor, ...]:
    """An encoder's inputs, in the order of the arguments of `Backend.encode_image` and `Backend.encode_text`."""
    if tower == "image":
        return (Tensor("pixels", "TYPE_UINT8", (manifest.image.size, manifest.image.size, 3)),)
    lengths = manifest.text.lengths
    return (
        Tensor("token_ids", "TYPE_INT32", (-1 if len(lengths) > 1 else lengths[0],)),
        Tensor(LENGTHS, "TYPE_INT32", (1,), graph_dims=()),
    )


def output(manifest: ModelManifest) -> Tensor:
    """The output, which is the same for both encoders."""
    return Tensor(EMBEDDING, "TYPE_FP32", (manifest.embed_dim,))
