"""The ceiling: a transformer of the same size in PyTorch, fp16, with its fused attention and random weights.

`python -m loadtests.gpu_bare.ceiling TOWER SIZES SECONDS DEVICE` is a process of its own: PyTorch brings a cuDNN,
of the same name and perhaps for another CUDA, which onnxruntime must not get.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from loadtests.gpu_bare.nodes import Tower
from loadtests.gpu_bare.speed import calls_per_second

_HEAD = 64  # numbers of one head


def torch_version() -> str | None:
    """None where PyTorch is missing. It is not loaded."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def measured(tower: Tower, sizes: Sequence[int], seconds: float, device: str) -> dict[int, float]:
    """Rows a second by rows in a call.

    Raises:
        RuntimeError: PyTorch failed; the message is its last line.
    """
    question = [json.dumps(vars(tower)), json.dumps(list(sizes)), str(seconds), device]
    ended = subprocess.run(
        [sys.executable, "-m", __name__, *question], capture_output=True, text=True, timeout=300, check=False
    )
    if ended.returncode:
        raise RuntimeError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1][:300])
    return {int(rows): rate for rows, rate in json.loads(ended.stdout).items()}


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


if __name__ == "__main__":
    _tower, _sizes, _seconds, _device = sys.argv[1:]
    _asked = Tower(**json.loads(_tower))
    print(json.dumps({n: rows_per_second(_asked, n, float(_seconds), _device) for n in json.loads(_sizes)}))
