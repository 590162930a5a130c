"""`python -m tests.models.folder_figures ViT-B-32 RN50`: from a folder of random weights to a first answer.

It prints seconds, and the peak memory of the largest process. The names are those of open_clip's architectures that
are built; PyTorch is not needed.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from clipserve_models.architecture import ResNet
from clipserve_models.layouts.facts import Facts
from clipserve_models.layouts.open_clip_folder import architecture_of
from tests.models.layouts.changes import write_json
from tests.models.layouts.folders import open_clip_name, transformers_folder, write_safetensors
from tests.models.layouts.test_popular import MEAN_STD, named
from tests.models.towers import random_tensors
from tests.process import ROOT, Fresh

_TRANSPOSED = ("visual.proj", "text_projection")


def write_folder(folder: Path, name: str) -> int:
    """A model of this architecture with random weights, in fp16: a ViT as transformers saves it. Returns: bytes."""
    config = named(name)
    architecture = architecture_of(Facts(name, config))
    if not isinstance(architecture.image, ResNet):
        kind = "siglip" if architecture.text.pooling == "last" else "clip"
        transformers_folder(folder, architecture, kind, "F16")
    else:
        write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": MEAN_STD})
        arrays = {"logit_scale": np.array(4.6, np.float32)}
        for role, tensor in random_tensors(architecture).items():
            key = _of_resnet(role) if role.startswith("image.") else open_clip_name(role)[0]
            arrays[key] = tensor.read().T if key in _TRANSPOSED else tensor.read()
        write_safetensors(folder / "open_clip_model.safetensors", arrays, "F16")
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _of_resnet(role: str) -> str:
    *places, last = role.removeprefix("image.").split(".")
    if role == "image.positions":
        return "visual.attnpool.positional_embedding"
    if places[0] in ("q", "k", "v", "projection"):
        return f"visual.attnpool.{'c' if places[0] == 'projection' else places[0]}_proj.{last}"
    norm = places[-1] == "norm"
    stage, *block, which = places[:-1] if norm else places
    at = f"visual.layer{int(stage[5:]) + 1}.{block[0]}." if block else "visual."
    part = {"mean": "running_mean", "variance": "running_var"}.get(last, last)
    if which == "beside":
        return f"{at}downsample.{int(norm)}.{part}"
    return f"{at}{'bn' if norm else 'conv'}{which}.{part}"


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


def main(name: str) -> None:
    """Print a row of one model, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CLIPSERVE_CACHE_DIR"] = f"{scratch}/cache"
        folder = Path(scratch) / "model"
        folder.mkdir()
        size = write_folder(folder, name)
        seconds = first_answer(folder)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"| {name} | {size / 1e9:.2f} GB | {seconds:.1f} s | {peak:.2f} GB |")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        if child := os.fork():  # so that the peak is of its own children
            os.waitpid(child, 0)
        else:
            main(each)
            sys.stdout.flush()
            os._exit(0)
