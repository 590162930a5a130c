"""The ceiling: a transformer of the same size in PyTorch, fp16, with its fused attention and random weights."""

from __future__ import annotations

from typing import Any

from loadtests.gpu_bare.nodes import Tower
from loadtests.gpu_bare.speed import calls_per_second

_HEAD = 64  # numbers of one head


def torch_version() -> str | None:
    """With the CUDA that it was built for; None where PyTorch is missing."""
    try:
        import torch
    except ImportError:
        return None
    return f"{torch.__version__}, CUDA {torch.version.cuda}"


def rows_per_second(tower: Tower, rows: int, seconds: float, device: str) -> float:
    """What PyTorch computes of [rows, tokens, width] through all layers; fp16 on a GPU, fp32 on a CPU."""
    import torch
    from torch.nn import functional

    dtype = torch.float16 if device == "cuda" else torch.float32
    width, heads = tower.width, max(1, tower.width // _HEAD)

    def weights(*shape: int) -> Any:
        return torch.randn(*shape, device=device, dtype=dtype) / shape[-1] ** 0.5

    layers = [
        (
            weights(3 * width, width),
            weights(width, width),
            weights(4 * width, width),
            weights(width, 4 * width),
        )
        for _ in range(tower.layers)
    ]
    x = weights(rows, tower.tokens, width)

    def call() -> None:
        with torch.inference_mode():
            y = x
            for qkv, out, wide, narrow in layers:
                parts = functional.linear(functional.layer_norm(y, (width,)), qkv)
                q, k, v = parts.view(rows, tower.tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
                seen = functional.scaled_dot_product_attention(q, k, v)
                y = y + functional.linear(seen.transpose(1, 2).reshape(y.shape), out)
                inner = functional.gelu(functional.linear(functional.layer_norm(y, (width,)), wide))
                y = y + functional.linear(inner, narrow)
            if device == "cuda":
                torch.cuda.synchronize()

    return rows * calls_per_second(call, seconds)
