"""What it costs to build an artifact from random weights of a published size.

    .venv/bin/python -m tests.models.peak_of_build [ViT-B-32 | ViT-L-14-336 | SO400M]

Prints seconds, CPU seconds and the peak of memory, everything that Python loads included, beside the weights' size.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from clipserve.clip.manifest import Source
from clipserve_models.build import build
from clipserve_models.weights import open_weights
from tests.models.towers import CLIP, SIGLIP, checkpoint_of, random_tensors, write_safetensors

ARCHITECTURES = {
    "ViT-B-32": replace(
        CLIP,
        image=replace(CLIP.image, width=768, layers=12, heads=12, mlp=3072, size=224, patch=32),
        text=replace(CLIP.text, width=512, layers=12, heads=8, mlp=2048, vocabulary=49408),
        embed_dim=512,
    ),
    "ViT-L-14-336": replace(
        CLIP,
        image=replace(CLIP.image, width=1024, layers=24, heads=16, mlp=4096, size=336, patch=14),
        text=replace(CLIP.text, width=768, layers=12, heads=12, mlp=3072, vocabulary=49408),
        embed_dim=768,
    ),
    "SO400M": replace(  # SigLIP2's, of 384 pixels
        SIGLIP,
        image=replace(SIGLIP.image, width=1152, layers=27, heads=16, mlp=4304, size=384, patch=14),
        text=replace(
            SIGLIP.text,
            width=1152,
            layers=27,
            heads=16,
            mlp=4304,
            vocabulary=256_000,
            context_length=64,
        ),
        embed_dim=1152,
    ),
}


def measure(name: str, folder: Path) -> None:
    """Build the model whose weights are in `folder`, in this process."""
    weights = folder / "weights.safetensors"
    checkpoint = checkpoint_of(ARCHITECTURES[name], tensors=open_weights([weights]))
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {_peak() / 1e6:7.0f} MB  {line}", flush=True)

    build(checkpoint, folder / "artifact", name="random", source=source, say=say)
    used = resource.getrusage(resource.RUSAGE_SELF)
    size = weights.stat().st_size
    print(
        f"{name}: {time.monotonic() - started:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU, peak "
        f"{_peak() / 1e6:,.0f} MB, {_peak() / size:.2f} of the weights' {size / 1e6:,.0f} MB"
    )


def _peak() -> int:
    """Bytes, files that are mapped included. getrusage would count the process that started this one too."""
    (told,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(told) * 1024


def main(names: list[str]) -> None:
    for name in names or ["ViT-B-32"]:
        with tempfile.TemporaryDirectory() as folder:
            write_safetensors(Path(folder) / "weights.safetensors", random_tensors(ARCHITECTURES[name]))
            # In a process of its own, whose peak is the build's.
            call = f"from tests.models.peak_of_build import *; measure({name!r}, Path({folder!r}))"
            subprocess.run([sys.executable, "-c", call], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
