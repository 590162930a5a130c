"""Small models as transformers and open_clip save them, and what these compute: made by tests/external/export.

The store has no weights: they are drawn by the names of the tensors, here and for the library.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipserve.clip.artifact import read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.reference import gradient_and_noise, lowest_cosine
from clipserve.clip.tokenizer import load_tokenizer
from tests.golden.make_tokens import hurting_strings, is_settled
from tests.models.layouts.changes import write_json
from tests.models.torch_files import write_torch
from tests.support.process import ROOT

STORE = ROOT / "tests/golden/saved_models.json.gz"
WEIGHTS = "model.safetensors"
Arrays = dict[str, npt.NDArray[Any]]
TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<f4"}


@dataclass(frozen=True)
class Computed:
    """What a library computes."""

    towers: dict[str, list[Any]]  # heads, epsilon and activation of "image" and "text"
    scale: float
    bias: float | None
    ids: list[list[int]]  # of `texts()`, padded
    images: list[list[float]]  # unit vectors of `photos()`
    texts: list[list[float]]  # and of every `EACH`th of `texts()`


@dataclass(frozen=True)
class Saved:
    """A folder but for its weights."""

    files: dict[str, str]  # by their names; latin-1
    weights: dict[str, tuple[str, dict[str, list[int]]]]  # by files: the type, and shapes by tensors' names
    computed: Computed | None = None

    def write(self, folder: Path) -> Arrays:
        """All files. Returns: the tensors by name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text.encode("latin-1"))
        found: Arrays = {}
        for name, (kind, shapes) in self.weights.items():
            arrays = {tensor: drawn(tensor, tuple(shape), TYPES[kind]) for tensor, shape in shapes.items()}
            if name.endswith(".bin"):
                write_torch(folder / name, arrays)
            else:
                write_safetensors(folder / name, arrays, kind)
            found |= arrays
        return found


@cache
def stored() -> dict[str, Saved]:
    told = json.loads(gzip.decompress(STORE.read_bytes()))
    return {
        name: Saved(each["files"], each["weights"], Computed(**each["computed"]))
        for name, each in told.items()
    }


def drawn(name: str, shape: tuple[int, ...], kind: str) -> npt.NDArray[Any]:
    """Values with which every layer matters: no norm is one, no bias zero."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "<i8")
    if name.startswith("logit_"):
        return np.full(shape, 2.5 if name == "logit_scale" else -7.5, kind)
    values = np.random.default_rng(crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        values = values**2 + np.float32(0.5)
    elif len(shape) > 1:
        values /= np.float32(np.sqrt(np.prod(shape[1:])))
    else:
        scales = name.endswith("weight") and re.search(r"norm|Norm|ln_|bn\d|downsample", name)
        values = np.float32(bool(scales)) + np.float32(0.2) * values
    return values.astype(kind)


def write_safetensors(path: Path, arrays: Mapping[str, npt.NDArray[Any]], kind: str = "F32") -> None:
    """`kind`: F32, F16 or BF16 (cut, not rounded)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts = [np.asarray(array, TYPES[kind]) for array in arrays.values()]
    if kind == "BF16":
        parts = [(part.view("<u4") >> 16).astype("<u2") for part in parts]
    end = 0
    for name, part in zip(arrays, parts, strict=True):
        start, end = end, end + part.nbytes
        header[name] = {"dtype": kind, "shape": part.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(part.tobytes() for part in parts))


def write_shards(folder: Path, arrays: Arrays, kind: str = "F32") -> None:
    """Two shards and their index, in place of one file."""
    names = list(arrays)
    parts = {f"model-0000{place + 1}-of-00002.safetensors": names[place::2] for place in range(2)}
    for file, part in parts.items():
        write_safetensors(folder / file, {name: arrays[name] for name in part}, kind)
    index = {name: file for file, part in parts.items() for name in part}
    write_json(folder / f"{WEIGHTS}.index.json", {"metadata": {}, "weight_map": index})
    (folder / WEIGHTS).unlink()


EACH = 20


@cache
def texts() -> list[str]:
    """400 on which tokenizers tend to disagree, without those that no tokenizer takes, and one that is too long."""
    strings = filter(is_settled, hurting_strings(500, seed=20261129))
    return [*[text for text in strings if "\ud800" not in text][:399], "cat " * 300]


@cache
def photos() -> list[bytes]:
    """Files with even margins once they are resized: at odd ones transformers crops a pixel beside torchvision."""
    files = []
    for width, height in ((300, 200), (200, 300), (275, 275)):
        gradient, noise = gradient_and_noise(height, width)
        file = io.BytesIO()
        Image.fromarray(((gradient + noise) // 2).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def check(artifact: Path, expected: Computed, run: Any, cosine: float, difference: float) -> None:
    """That an artifact gives these ids and vectors. `run`: a graph by its name, with its inputs.

    Random weights give all inputs a large part in common: what is left without it is compared, too.
    """
    manifest = read_manifest(artifact)
    tokenizer, length = load_tokenizer(artifact, manifest.text), manifest.text.context_length
    rows = tokenizer.encode(texts(), truncate=True)
    ids, lengths = tokenizer.pad(rows, length)
    wrong = [ascii(text) for text, a, b in zip(texts(), ids.tolist(), expected.ids, strict=True) if a != b]
    assert not wrong, f"{len(wrong)} of {len(ids)}: {wrong[:10]}"
    pixels = np.stack([decode_pixels(photo, manifest.image, ImageLimits()) for photo in photos()])
    ids, lengths = ids[EACH - 1 :: EACH], lengths[EACH - 1 :: EACH]
    padded = np.array([manifest.text.padded_length(tokens) for tokens in lengths])
    own_texts = np.zeros((len(ids), manifest.embed_dim), np.float32)
    for width in set(padded.tolist()):  # a call for each, as a service does
        some = padded == width
        own_texts[some] = run("text.onnx", {"token_ids": ids[some, :width], "lengths": lengths[some]})
    for graph, own, vectors in (
        ("image.onnx", run("image.onnx", {"pixels": pixels}), np.array(expected.images, np.float32)),
        ("text.onnx", own_texts, np.array(expected.texts, np.float32)),
    ):
        common = vectors.mean(axis=0)
        figures = lowest_cosine(own, vectors), lowest_cosine(own - common, vectors - common)
        largest = float(np.abs(own - vectors).max())
        print(f"{graph:10} cosine {figures[0]:.8f}, without the common part {figures[1]:.7f}, {largest:.1e}")
        assert min(figures) > cosine
        assert largest < difference
