"""open_clip's encoders as modules that trace to the graphs `service.manifest` promises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ModelsError

# Added to the score of what a token must not see. Finite, and within fp16 (its lowest is -65504) even after a
# score is added to it; exp(-10000) is 0 in every format, as exp(-inf) is.
_MASKED = -1e4


class ImageEncoder(nn.Module):
    """pixels uint8 [N, S, S, 3] -> embedding float32 [N, D], unit length."""

    scale: Tensor  # [3]
    shift: Tensor  # [3]

    def __init__(self, visual: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.visual = visual
        # (pixels / 255 - mean) / std as one multiplication and one subtraction
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)))
        self.register_buffer("shift", torch.tensor(mean) / torch.tensor(std))

    def forward(self, pixels: Tensor) -> Tensor:
        # The cast comes first: TensorRT takes uint8 as a graph's input only.
        image = pixels.to(torch.float32) * self.scale - self.shift  # [N, S, S, 3]
        return _unit(self.visual(image.permute(0, 3, 1, 2)))


class TextEncoder(nn.Module):
    """token_ids int32 [N, L], lengths int32 [N] -> embedding float32 [N, D], unit length.

    `causal`: the tower does not look ahead, so L may be any length up to the context length.
    """

    mask: Tensor | None  # [context length, context length]

    def __init__(self, model: Any) -> None:
        """Raises ModelsError if the text encoder of this open_clip model is of a kind not known here."""
        super().__init__()
        text = getattr(model, "text", model)  # CLIP holds the parts itself, CustomTextCLIP in `text`
        pool = getattr(text, "pool_type", None) or getattr(text, "text_pool_type", None)
        if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
            raise ModelsError("a text encoder with a class token or a padding mask cannot be exported.")
        if pool not in ("argmax", "eos", "last"):
            raise ModelsError(f"a text encoder that pools by {pool!r} cannot be exported.")
        self.token_embedding = text.token_embedding
        self.positional_embedding = text.positional_embedding  # [context length, W]
        self.transformer = text.transformer
        self.norm = text.ln_final
        self.projection = text.text_projection
        self.pools_last = pool == "last"
        self.causal = text.attn_mask is not None
        mask = torch.full_like(text.attn_mask, _MASKED).triu(1) if self.causal else None
        self.register_buffer("mask", mask)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        n, length = token_ids.shape
        # Not nn.Embedding: the exporter would name its value "embedding", which is the name of the output.
        tokens = self.token_embedding.weight.index_select(0, token_ids.flatten())  # [N * L, W]
        states = tokens.reshape(n, length, -1) + self.positional_embedding[:length]  # [N, L, W]
        mask = None if self.mask is None else self.mask[:length, :length]
        states = self.transformer(states, attn_mask=mask)  # [N, L, W]
        if self.pools_last:
            pooled = states[:, -1]
        else:
            ends = torch.arange(n) * length + lengths - 1  # [N]
            pooled = states.flatten(0, 1).index_select(0, ends)
        pooled = self.norm(pooled)  # [N, W]; it works on each token alone, so it may follow the pooling
        if isinstance(self.projection, nn.Linear):
            pooled = self.projection(pooled)
        elif self.projection is not None:
            pooled = pooled @ self.projection
        return _unit(pooled)


class PlainAttention(nn.Module):
    """nn.MultiheadAttention of a tensor with itself in a dozen plain nodes.

    torch's own traces to many more (it keeps the sequence first, and asks the tensor for its sizes at every
    step), which runtimes do not recognise as attention.
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.original = original

    def forward(
        self,
        query: Tensor,  # [N, L, W]; key and value are the same tensor
        _key: Tensor,
        _value: Tensor,
        need_weights: bool,  # noqa: ARG002 - open_clip passes it by name, always False
        attn_mask: Tensor | None,  # [L, L]
    ) -> tuple[Tensor, None]:
        n, length, width = query.shape
        size = self.original.head_dim
        joint = nn.functional.linear(query, self.original.in_proj_weight, self.original.in_proj_bias)
        q, k, v = (part.reshape(n, length, -1, size).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        scores = (q * size**-0.5) @ k.transpose(-2, -1)  # [N, heads, L, L]
        if attn_mask is not None:
            scores = scores + attn_mask
        mixed = scores.softmax(dim=-1) @ v  # [N, heads, L, W / heads]
        return self.original.out_proj(mixed.transpose(1, 2).reshape(n, length, width)), None


def with_plain_attention(module: nn.Module) -> None:
    """Replace every nn.MultiheadAttention inside `module`, in place; the weights are shared."""
    for name, child in module.named_children():
        if isinstance(child, nn.MultiheadAttention):
            setattr(module, name, PlainAttention(child))
        else:
            with_plain_attention(child)


def _unit(embedding: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(embedding, dim=-1, keepdim=True)  # [N, 1]
    return embedding / norm.clamp_min(1e-12)
