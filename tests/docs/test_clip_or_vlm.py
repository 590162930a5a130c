"""The GFLOP of docs/clip-or-vlm.md follow from the models' dimensions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "clip-or-vlm.md").read_text()
WORDS = 16  # tokens of the prompt around an image
ROWS = {
    name: (tokens, gflop, times)
    for name, tokens, gflop, times in re.findall(
        r"^\| (\S.*?) \| ([\d,]+) \| ([\d.,]+) \| ([\d.]+) \| [\d.]+ \|$", PAGE, re.MULTILINE
    )
}


def block(tokens: int, width: int, mlp: int, heads: int = 0, key_heads: int = 0, matrices: int = 2) -> int:
    """Multiplications of a block. `heads`, `key_heads`: the widths of all queries, and of all keys."""
    heads, key_heads = heads or width, key_heads or heads or width
    return tokens * width * (2 * heads + 2 * key_heads + matrices * mlp) + 2 * tokens**2 * heads


def vit(patches: int, side: int, *, pooled: bool) -> int:
    """ViT-B of CLIP, or with attention that pools, of SigLIP."""
    tokens = patches + (not pooled)
    return patches * 3 * side**2 * 768 + 12 * block(tokens, 768, 3072) + 2 * 768**2 * tokens * pooled


def gemma(patches: int) -> int:
    """EmbeddingGemma 2: three matrices in each MLP, and a residual of 512 for each layer."""
    image = patches * 768 * 768 + 16 * block(patches, 768, 3072, matrices=3) + patches // 9 * 768 * 512
    tokens = patches // 9 + WORDS
    return image + 24 * (block(tokens, 512, 2048, 1024, 512, 3) + tokens * 3 * 512**2)


def qwen(patches: int) -> int:
    """Qwen3-VL-Embedding-2B: four patches become a token, once after the last block and thrice before."""
    image = patches * 1536 * 1024 + 24 * block(patches, 1024, 4096)
    merged = 4 * (patches // 4) * 4096 * (4096 + 2048)
    return image + merged + 28 * block(patches // 4 + WORDS, 2048, 6144, 2048, 1024, 3)


@pytest.mark.parametrize(
    ("name", "tokens", "multiplications"),
    [
        ("ViT-B/32", 49, vit(49, 32, pooled=False)),
        ("SigLIP2 B/16", 196, vit(196, 16, pooled=True)),
        ("EmbeddingGemma 2, 70 tokens", 63, gemma(21 * 27)),
        ("EmbeddingGemma 2, 280 tokens", 266, gemma(42 * 57)),
        ("Qwen3-VL-Embedding-2B", 300, qwen(30 * 40)),
    ],
)
def test_the_gflop_of_a_model_follow_from_its_dimensions(
    name: str, tokens: int, multiplications: int
) -> None:
    gflop = 2 * multiplications / 1e9
    times = multiplications / vit(49, 32, pooled=False)
    digits = 0 if gflop > 100 else 1
    assert ROWS[name] == (f"{tokens:,}", f"{gflop:,.{digits}f}", f"{times:.0f}")


def test_the_page_says_what_the_factors_are() -> None:
    factors = [int(times) for _, _, times in ROWS.values()]
    assert f"{factors[2]} to {factors[-1]} times the work of ViT-B/32" in PAGE
