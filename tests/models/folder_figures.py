"""`python -m tests.models.folder_figures ViT-B-32 RN50`: from a folder of random weights to a first answer.

It prints seconds, and the peak memory of the largest process. The names are those of open_clip's architectures that
are built; PyTorch is not needed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from clipserve_models.architecture import ImageTower, ResNet
from clipserve_models.layouts.facts import Facts
from clipserve_models.layouts.open_clip_folder import architecture_of
from tests.models.layouts.folders import _open_clip_name, write_json
from tests.models.layouts.test_popular import GEMMA, MEAN_STD, gemma_tokenizer, named
from tests.models.towers import random_tensors
from tests.process import ROOT, Fresh

_TRANSPOSED = ("visual.proj", "text_projection")


def write_folder(folder: Path, name: str) -> int:
    """As open_clip publishes a model of this architecture, in fp16, with random weights. Returns: bytes."""
    config = named(name)
    architecture = architecture_of(Facts(name, config))
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": MEAN_STD})
    siglip = isinstance(architecture.image, ImageTower) and architecture.image.pooling == "attention"
    if siglip:
        gemma_tokenizer(folder)
        write_json(folder / "tokenizer_config.json", GEMMA | {"tokenizer_class": "T5Tokenizer"})
    arrays: dict[str, Any] = {"logit_scale": np.array(4.6, np.float16)}
    if siglip:
        arrays["logit_bias"] = np.array(-10, np.float16)
    for role, tensor in random_tensors(architecture).items():
        (key,) = _timm_name(role) if siglip else _names(role, architecture.image)
        values = tensor.read().astype(np.float16)
        ones = {"visual.trunk.pos_embed": 1, "visual.trunk.attn_pool.latent": 2}.get(key, 0)
        arrays[key] = values.T if key in _TRANSPOSED else values.reshape((1,) * ones + values.shape)
    return _write(folder / "open_clip_model.safetensors", arrays)


_TIMM = {"patch": "patch_embed.proj", "positions": "pos_embed", "probe": "latent"}
_TIMM |= {"pool.": "attn_pool.", ".qkv": ".attn.qkv", ".out": ".proj"}
_TIMM |= {".up": ".mlp.fc1", ".down": ".mlp.fc2"}


def _timm_name(role: str) -> list[str]:
    """Of a role, in open_clip's models with an image encoder of timm."""
    tower, _, inside = role.partition(".")
    if tower == "text":
        return [role.replace("text.", "text_", 1)] if "projection" in role else _open_clip_name(role)
    inside = re.sub(r"(blocks\.\d+)\.out", r"\1.attn.proj", inside)
    for ours, theirs in _TIMM.items():
        inside = inside.replace(ours, theirs)
    return [f"visual.trunk.{inside}"]


def _write(path: Path, arrays: dict[str, Any]) -> int:
    header, end = {}, 0
    for key, values in arrays.items():
        start, end = end, end + values.nbytes
        header[key] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in arrays.values():
            file.write(np.ascontiguousarray(values).tobytes())
    return end


def _names(role: str, image: object) -> list[str]:
    if not (isinstance(image, ResNet) and role.startswith("image.")):
        return _open_clip_name(role)
    *places, last = role.removeprefix("image.").split(".")
    if role == "image.positions":
        return ["visual.attnpool.positional_embedding"]
    if places[0] in ("q", "k", "v", "projection"):
        return [f"visual.attnpool.{'c' if places[0] == 'projection' else places[0]}_proj.{last}"]
    norm = places[-1] == "norm"
    stage, *block, which = places[:-1] if norm else places
    at = f"visual.layer{int(stage[5:]) + 1}.{block[0]}." if block else "visual."
    part = {"mean": "running_mean", "variance": "running_var"}.get(last, last)
    if which == "beside":
        return [f"{at}downsample.{int(norm)}.{part}"]
    return [f"{at}{'bn' if norm else 'conv'}{which}.{part}"]


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
