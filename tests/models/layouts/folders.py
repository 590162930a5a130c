"""Small models in the layouts of transformers and open_clip, saved by hand: no test here needs either."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import pre_tokenizers

from clipserve_models.architecture import Architecture, Tower
from clipserve_models.tensors import Tensor
from tests.models.layouts.changes import edit, write_json
from tests.models.towers import CLIP, random_tensors, vit

Arrays = dict[str, npt.NDArray[np.float32]]
SCALE = 2.5  # the logarithm of logit_scale
START, END = "<|startoftext|>", "<|endoftext|>"
HALVES = [0.5, 0.5, 0.5]
# open_clip's own tokenizer has a fixed vocabulary.
OPEN_CLIP = replace(CLIP, text=replace(CLIP.text, vocabulary=49408, width=8), embed_dim=16)


def write_safetensors(path: Path, arrays: Mapping[str, npt.NDArray[Any]], dtype: str = "F32") -> None:
    """`dtype`: F32, F16 or BF16 (cut, not rounded)."""
    header: dict[str, Any] = {}
    end, width = 0, 4 if dtype == "F32" else 2
    for name, array in arrays.items():
        start, end = end, end + np.size(array) * width
        header[name] = {"dtype": dtype, "shape": list(np.shape(array)), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            values = np.asarray(array, "<f2" if dtype == "F16" else "<f4")
            upper = (values.view("<u4") >> 16).astype("<u2") if dtype == "BF16" else values
            file.write(upper.tobytes())


def write_shards(folder: Path, arrays: Arrays, dtype: str = "F32") -> None:
    """Two shards and their index."""
    names = list(arrays)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        write_safetensors(folder / file, {name: arrays[name] for name in part}, dtype)
    index = {name: file for file, part in parts.items() for name in part}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def transformers_folder(
    folder: Path, architecture: Architecture, model_type: str = "clip", dtype: str = "F32"
) -> Arrays:
    """CLIPModel's or SiglipModel's. Returns: its tensors by name."""
    image, text = vit(architecture), architecture.text
    folder.mkdir(parents=True, exist_ok=True)
    vision = _config(image) | {"image_size": image.size, "patch_size": image.patch}
    words = _config(text) | {"vocab_size": text.vocabulary, "max_position_embeddings": text.context_length}
    words |= {"eos_token_id": text.vocabulary - 1}
    config = {"model_type": model_type, "projection_dim": architecture.embed_dim}
    write_json(folder / "config.json", config | {"text_config": words, "vision_config": vision})
    images: dict[str, Any] = {"image_mean": HALVES, "image_std": HALVES, "resample": 3}
    if model_type == "clip":
        images |= {"size": {"shortest_edge": image.size}, "crop_size": image.size}
        clip_tokenizer(folder, text.vocabulary, text.context_length)
    else:
        images["size"] = dict.fromkeys(("height", "width"), image.size)
        siglip_tokenizer(folder)
    write_json(folder / "preprocessor_config.json", images)
    arrays = named(architecture, random_tensors(architecture), _transformers_name)
    if model_type == "siglip":
        edit(folder, "config.json text_config.projection_size", architecture.embed_dim)
        for part in ("weight", "bias"):
            arrays[f"text_model.head.{part}"] = arrays.pop(f"text_projection.{part}")
    write_safetensors(folder / "model.safetensors", arrays, dtype)
    return arrays


def open_clip_folder(folder: Path, architecture: Architecture) -> Arrays:
    """open_clip's, with its own tokenizer. Returns: its tensors by name."""
    image, text = vit(architecture), architecture.text
    folder.mkdir(parents=True, exist_ok=True)
    both = {"quick_gelu": True} if image.activation == "quick_gelu" else {}
    vision = _open_clip(image) | {"image_size": image.size, "patch_size": image.patch}
    vision |= {"head_width": image.width // image.heads}
    words = _open_clip(text) | {"context_length": text.context_length, "vocab_size": text.vocabulary}
    words |= {"heads": text.heads}
    model = both | {"embed_dim": architecture.embed_dim, "vision_cfg": vision, "text_cfg": words}
    images = {"mean": HALVES, "std": HALVES}
    write_json(folder / "open_clip_config.json", {"model_cfg": model, "preprocess_cfg": images})
    arrays = named(architecture, random_tensors(architecture), open_clip_name)
    for name in ("visual.proj", "text_projection"):
        arrays[name] = arrays[name].T
    write_safetensors(folder / "open_clip_model.safetensors", arrays)
    return arrays


def named(architecture: Architecture, tensors: Mapping[str, Tensor], name_of: Any) -> Arrays:
    """The values by a layout's names. `name_of`: those of a role; of q, k and v there may be three."""
    arrays: Arrays = {"logit_scale": np.array(SCALE, np.float32)}
    if vit(architecture).pooling == "attention":
        arrays = {"logit_scale": np.array([SCALE], np.float32), "logit_bias": np.array([-3.0], np.float32)}
        for part in ("weight", "bias"):
            joint = [tensors[f"image.pool.{each}.{part}"].read() for each in ("q", "kv")]
            arrays[f"vision_model.head.attention.in_proj_{part}"] = np.concatenate(joint)
    for role, tensor in tensors.items():
        names, values = name_of(role), tensor.read()
        if role == "image.pool.probe":
            values = values[None, None]
        if names:
            arrays |= dict(zip(names, np.split(values, len(names)), strict=True))
    return arrays


def clip_tokenizer(folder: Path, vocabulary: int, context_length: int) -> None:
    """vocab.json and merges.txt of CLIP's kind: each byte, alone and at a word's end, and three merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["c a", "ca t</w>", "d o"]
    tokens = [*letters, *(f"{each}</w>" for each in letters), *(merge.replace(" ", "") for merge in merges)]
    tokens += [f"unused{i}" for i in range(vocabulary - 2 - len(tokens))] + [START, END]
    write_json(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    told = special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": context_length}
    write_json(folder / "tokenizer_config.json", told)


def siglip_tokenizer(folder: Path) -> None:
    """A SentencePiece model of a few pieces, and the configuration of SiglipTokenizer."""
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("\u2581", -3.0, 1)]
    pieces += [("\u2581cat", -1.0, 1), ("\u2581dog", -1.0, 1), *((each, -4.0, 1) for each in "abcdefgt")]
    model = b"".join(
        _field(1, _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes((0x18, kind)))
        for text, score, kind in pieces
    )
    (folder / "spiece.model").write_bytes(model + _field(2, b"\x18\x01") + _field(3, _field(1, b"identity")))
    told = {"tokenizer_class": "SiglipTokenizer", "eos_token": "</s>", "pad_token": "</s>"}
    write_json(folder / "tokenizer_config.json", told)


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data


def _config(tower: Tower) -> dict[str, Any]:
    names = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": names[tower.activation],
        "layer_norm_eps": tower.epsilon,
    }


def _open_clip(tower: Tower) -> dict[str, Any]:
    return {"width": tower.width, "layers": tower.layers, "mlp_ratio": tower.mlp / tower.width}


_PARTS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "out": "self_attn.out_proj",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
_TRANSFORMERS = {
    "image.patch": "vision_model.embeddings.patch_embedding",
    "image.class": "vision_model.embeddings.class_embedding",
    "image.positions": "vision_model.embeddings.position_embedding.weight",
    "image.pre_norm": "vision_model.pre_layrnorm",
    "image.norm": "vision_model.post_layernorm",
    "image.projection": "visual_projection",
    "image.pool.probe": "vision_model.head.probe",
    "image.pool.out": "vision_model.head.attention.out_proj",
    "image.pool.norm": "vision_model.head.layernorm",
    "image.pool.up": "vision_model.head.mlp.fc1",
    "image.pool.down": "vision_model.head.mlp.fc2",
    "text.tokens": "text_model.embeddings.token_embedding.weight",
    "text.positions": "text_model.embeddings.position_embedding.weight",
    "text.norm": "text_model.final_layer_norm",
    "text.projection": "text_projection",
}
_OPEN_CLIP = {
    "image.patch.weight": "visual.conv1.weight",
    "image.class": "visual.class_embedding",
    "image.positions": "visual.positional_embedding",
    "image.pre_norm": "visual.ln_pre",
    "image.norm": "visual.ln_post",
    "image.projection.weight": "visual.proj",
    "text.tokens": "token_embedding.weight",
    "text.positions": "positional_embedding",
    "text.norm": "ln_final",
    "text.projection.weight": "text_projection",
}
_OPEN_CLIP_PARTS = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "out": "attn.out_proj",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}


def _transformers_name(role: str) -> list[str]:
    tower, *inside = role.split(".")
    if inside[0] == "blocks":
        _, index, part, kind = inside
        layer = f"{'vision' if tower == 'image' else tower}_model.encoder.layers.{index}"
        parts = [f"self_attn.{each}_proj" for each in "qkv"] if part == "qkv" else [_PARTS[part]]
        return [f"{layer}.{part}.{kind}" for part in parts]
    if role.startswith(("image.pool.q.", "image.pool.kv.")):
        return []
    return [_by_table(role, _TRANSFORMERS)]


def open_clip_name(role: str) -> list[str]:
    tower, *inside = role.split(".")
    if inside[0] == "blocks":
        _, index, part, kind = inside
        layer = f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{index}"
        return [
            f"{layer}.attn.in_proj_{kind}" if part == "qkv" else f"{layer}.{_OPEN_CLIP_PARTS[part]}.{kind}"
        ]
    return [_by_table(role, _OPEN_CLIP)]


def _by_table(role: str, table: Mapping[str, str]) -> str:
    if role in table:
        return table[role]
    layer, _, kind = role.rpartition(".")
    return f"{table[layer]}.{kind}"
