"""Changes an open_clip model to one that computes the same in fewer steps, before it is traced."""

from __future__ import annotations

from typing import Any

from open_clip.transformer import AttentionalPooler, ResidualAttentionBlock, VisionTransformer
from timm.utils import reparameterize_model
from torch import Tensor, nn

from clipserve_models.towers import LastBlock, attend, masks_padding


def reparameterize(model: Any) -> None:
    """Merge the branches that timm's MobileOne and RepMixer blocks were trained with, in place.

    Their authors ask for it before an export: the same function in fewer steps, on weights that are sums of the
    checkpoint's (Vasu et al., MobileCLIP, 2024).
    """
    if trunk := getattr(model.visual, "trunk", None):
        reparameterize_model(trunk, inplace=True)


def simplify(model: Any) -> None:
    """Change an open_clip model, in place, to one that computes the same in fewer steps on the same weights."""
    visual = model.visual
    if isinstance(visual, VisionTransformer):
        visual.output_tokens = False  # only for CoCa's captioning
        if visual.pool_type == "tok":
            _pool_first_state(visual)
    # Padding masks have another shape than PlainAttention's.
    _with_plain_attention(visual if masks_padding(model) else model)


def _pool_first_state(visual: VisionTransformer) -> None:
    """Compute only the first state in the last block."""
    *blocks, last = visual.transformer.resblocks
    if visual.attn_pool is not None:
        visual.attn_pool.query = nn.Parameter(visual.attn_pool.query[:1])
    elif isinstance(last, ResidualAttentionBlock):
        visual.transformer.resblocks = nn.ModuleList([*blocks, FirstState(last)])


def _with_plain_attention(module: nn.Module) -> None:
    """Replace every nn.MultiheadAttention inside of a tensor with itself."""
    for name, child in module.named_children():
        if isinstance(child, nn.MultiheadAttention):
            setattr(module, name, PlainAttention(child))
        elif not isinstance(child, AttentionalPooler):
            _with_plain_attention(child)


class FirstState(nn.Module):
    """The last block of a tower that pools its first state."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.last = LastBlock(block)

    def forward(self, states: Tensor, attn_mask: None = None) -> Tensor:  # noqa: ARG002 - open_clip passes it
        """[N, L, W] -> [N, 1, W]."""
        pooled: Tensor = self.last(states, states[:, :1])
        return pooled


class PlainAttention(nn.Module):
    """nn.MultiheadAttention of a tensor with itself in a dozen plain nodes.

    torch's own gives many more nodes (it puts the sequence first, and reads the tensor's sizes at every step),
    which runtimes do not recognise as attention.
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
        joint = nn.functional.linear(query, self.original.in_proj_weight, self.original.in_proj_bias)
        q, k, v = joint.chunk(3, dim=-1)
        mixed = attend(q, k, v, self.original.head_dim, attn_mask)
        return self.original.out_proj(mixed), None
