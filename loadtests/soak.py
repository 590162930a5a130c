"""Hours of it: whether memory grows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from loadtests.observe import Memory


def slope(memory: Sequence[Memory]) -> float:
    """KiB a minute by which memory grew in the second half: the line of least squares."""
    second_half = memory[len(memory) // 2 :]
    if len(second_half) < 2:
        return 0.0
    line = statistics.linear_regression([m.at / 60 for m in second_half], [m.rss / 1024 for m in second_half])
    return line.slope


def weights_bytes(artifact: Path) -> int:
    """Bytes of the graphs."""
    return sum(path.stat().st_size for path in artifact.glob("*.onnx"))
