"""`python -m tools.export_figures FOLDER...`: from a folder of weights to a first answer.

It prints seconds, and the peak memory of the largest process, and does not need PyTorch. `open_clip_folder` of
tests/external/export/saved_models.py writes folders of random weights.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.support.process import ROOT, Fresh


def first_answer(folder: Path) -> float:
    """Seconds from the start of a service that was given the folder, to the vector of a photo."""
    began = time.monotonic()
    service = Fresh(models=str(folder), backend="onnx", max_queue_seconds=600, deadline_seconds=600)
    service.wait_ready(3_600)
    photo = {"image": (ROOT / "docs/cat.jpg").read_bytes()}
    httpx.post(f"{service.url}/embed", files=photo, timeout=600).raise_for_status()
    took = time.monotonic() - began
    service.stop()
    return took


def main(folder: Path) -> None:
    """Print a row of one model, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CLIPSERVE_CACHE_DIR"] = scratch
        seconds = first_answer(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"| {folder.name} | {size / 1e9:.2f} GB | {seconds:.1f} s | {peak:.2f} GB |")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        if child := os.fork():  # so that the peak is of its own children
            os.waitpid(child, 0)
        else:
            main(Path(each))
            sys.stdout.flush()
            os._exit(0)
