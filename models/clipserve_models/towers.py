"""Wraps open_clip's encoders as modules, which are traced to the graphs that `clipserve.clip.artifact` describes.

The last block of a transformer computes only the pooled state, because nothing reads the others. The vectors are
the same.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from clipserve_models.errors import ModelsError
from clipserve_models.graphs.weights import MASKED


class ImageEncoder(nn.Module):
    """pixels uint8 [N, S, S, 3] -> embedding float32 [N, D], unit length."""

    scale: Tensor  # [3]
    shift: Tensor  # [3]

    def __init__(
        self, visual: nn.Module, mean: list[float], std: list[float], dtype: torch.dtype = torch.float32
    ) -> None:
        """`dtype`: that of the weights of `visual`."""
        super().__init__()
        self.visual = visual
        self.dtype = dtype
        # (pixels / 255 - mean) / std as one multiplication and one subtraction
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)))
        self.register_buffer("shift", torch.tensor(mean) / torch.tensor(std))

    def forward(self, pixels: Tensor) -> Tensor:
        # The cast comes first: TensorRT takes uint8 as a graph's input only.
        image = pixels.to(torch.float32) * self.scale - self.shift  # [N, S, S, 3]
        return _unit(self.visual(image.permute(0, 3, 1, 2).to(self.dtype)))


class TextEncoder(nn.Module):
    """token_ids int32 [N, L], lengths int32 [N] -> embedding float32 [N, D], unit length.

    `trims`: the encoder is causal and pools where a text ends, so L may be any length up to the context length.
    """

    mask: Tensor | None  # [context length, context length]

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        """`dtype`: that of the weights, but for the tables of tokens and positions, which are fp32.

        Raises:
            ModelsError: the text encoder of this open_clip model is of a kind not known here.
        """
        super().__init__()
        text = getattr(model, "text", model)  # CLIP holds the parts itself, CustomTextCLIP in `text`
        pool = getattr(text, "pool_type", None) or getattr(text, "text_pool_type", None)
        if pool not in ("argmax", "eos", "last"):
            raise ModelsError(f"a text encoder that pools by {pool!r} cannot be exported.")
        *blocks, last = text.transformer.resblocks
        if not isinstance(last, ResidualAttentionBlock):
            raise ModelsError(f"a text encoder of {type(last).__name__} cannot be exported.")
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding  # [context length, W]
        self.blocks = nn.ModuleList(blocks)
        self.last = LastBlock(last)
        self.norm = text.ln_final
        self.projection = text.text_projection
        self.pools_last = pool == "last"
        causal = text.attn_mask is not None
        self.trims = causal and not self.pools_last
        self.dtype = dtype
        mask = torch.full_like(text.attn_mask, MASKED, dtype=dtype).triu(1) if causal else None
        self.register_buffer("mask", mask)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        n, length = token_ids.shape
        # Not nn.Embedding: the exporter would name its value "embedding", which is the name of the output.
        tokens = self.token_embedding.weight.index_select(0, token_ids.flatten())  # [N * L, W]
        states = tokens.reshape(n, length, -1) + self.positional_embedding[:length]  # [N, L, W]
        states = states.to(self.dtype)
        mask = None if self.mask is None else self.mask[:length, :length]
        for block in self.blocks:
            states = block(states, attn_mask=mask)  # [N, L, W]
        if self.pools_last:
            pooled = self.last(states, states[:, -1:], mask if mask is None else mask[-1])
        else:
            ends = lengths - 1  # [N]
            own = states.flatten(0, 1).index_select(0, torch.arange(n) * length + ends)  # [N, W]
            seen = mask if mask is None else mask.index_select(0, ends)[:, None, None]  # [N, 1, 1, L]
            pooled = self.last(states, own.unsqueeze(1), seen)
        # [N, W]; the norm works on each token alone, so it may follow the pooling
        pooled = self.norm(pooled.squeeze(1))
        if isinstance(self.projection, nn.Linear):
            pooled = self.projection(pooled)
        elif self.projection is not None:
            pooled = pooled @ self.projection
        return _unit(pooled)


class WholeTextEncoder(nn.Module):
    """token_ids int32 [N, context length], lengths int32 [N] -> embedding float32 [N, D], unit length.

    For encoders that mask the padding by its id: those of transformers, and CoCa's, whose class token follows the
    padding. They are traced unchanged.
    """

    trims = False

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - of the contract of the graph
        pooled = self.text(token_ids.to(torch.int64))
        return _unit(pooled[0] if isinstance(pooled, tuple) else pooled)  # CoCa's captioning uses the others


def text_encoder(model: Any, dtype: torch.dtype = torch.float32) -> TextEncoder | WholeTextEncoder:
    """The text tower of an open_clip model; `dtype` as for TextEncoder.

    Raises:
        ModelsError: it is of a kind not known here.
    """
    return WholeTextEncoder(model.text) if masks_padding(model) else TextEncoder(model, dtype)


def masks_padding(model: Any) -> bool:
    """Whether its text tower needs `WholeTextEncoder`."""
    text = getattr(model, "text", model)
    return (
        isinstance(text, HFTextEncoder)
        or getattr(text, "cls_emb", None) is not None
        or getattr(text, "use_pad_mask", False)
    )


class LastBlock(nn.Module):
    """A transformer's last block, for the one state of each row that is pooled.

    The other states give only keys and values. A block computes 12 products of W x W for each state, and 2 are
    enough for these: an encoder of 12 blocks computes a fifteenth less.
    """

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block
        self.out_proj, self.head_dim = block.attn.out_proj, block.attn.head_dim
        parts = [block.attn.embed_dim, 2 * block.attn.embed_dim]  # the query's, the keys' and values'
        self.weights, self.biases = (
            each.split(parts) for each in (block.attn.in_proj_weight, block.attn.in_proj_bias)
        )

    def forward(self, states: Tensor, own: Tensor, mask: Tensor | None = None) -> Tensor:
        """All states [N, L, W], the pooled ones [N, 1, W], a mask for [N, heads, 1, L] -> [N, 1, W]."""
        query, both = (
            nn.functional.linear(self.block.ln_1(of), weight, bias)
            for of, weight, bias in zip((own, states), self.weights, self.biases, strict=True)
        )
        key, value = both.chunk(2, dim=-1)
        mixed = self.out_proj(attend(query, key, value, self.head_dim, mask))
        own = own + self.block.ls_1(mixed)
        result: Tensor = own + self.block.ls_2(self.block.mlp(self.block.ln_2(own)))
        return result


def attend(query: Tensor, key: Tensor, value: Tensor, head_dim: int, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention of projected states: [N, Q, W], twice [N, L, W] -> [N, Q, W]."""
    q, k, v = (
        part.reshape(*part.shape[:2], -1, head_dim).transpose(1, 2)  # [N, heads, Q or L, W / heads]
        for part in (query, key, value)
    )
    scores = (q * head_dim**-0.5) @ k.transpose(-2, -1)  # [N, heads, Q, L]
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def _unit(embedding: Tensor) -> Tensor:
    """[N, D] of any precision -> float32 [N, D], unit length."""
    embedding = embedding.to(torch.float32)
    norm: Tensor = torch.linalg.vector_norm(embedding, dim=-1, keepdim=True)  # [N, 1]
    return embedding / norm.clamp_min(1e-12)
