"""Artifact -> a CLIP folder as Hugging Face's transformers and so infinity read it, with the same weights.

Runs in infinity's environment: `python infinity_folder.py ARTIFACT FOLDER`. The exporter renames most weights and
stores equal ones once, so they cannot be found by name: the graphs compute layer after layer, and this reads
matrices and norms in the order of use. This works only for ViTs with OpenAI's text encoder.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

_HEAD_SIZE = 64  # of every attention head of OpenAI's architectures
Weights = dict[str, torch.Tensor]
Matrix = tuple[torch.Tensor, torch.Tensor | None]  # [in, out], with its bias [out]


@dataclass(frozen=True)
class Tower:
    """The weights of one graph in the order of use."""

    matrices: list[Matrix]
    norms: list[tuple[torch.Tensor, torch.Tensor]]  # weight and bias [W]
    named: Weights
    quick_gelu: bool

    @property
    def layers(self) -> int:
        return (len(self.matrices) - 1) // 4


def read_tower(path: Path) -> Tower:
    """Read a graph of an artifact."""
    graph = onnx.load(path).graph
    named = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    bias_of = {}  # result of a MatMul -> the vector added to it
    for node in graph.node:
        if node.op_type == "Add":
            for value, other in (tuple(node.input), tuple(node.input)[::-1]):
                if other in named and named[other].dim() == 1:
                    bias_of[value] = named[other]
    matrices = [
        (named[node.input[1]], bias_of.get(node.output[0]))
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in named
    ]
    norms = [(named[n.input[1]], named[n.input[2]]) for n in graph.node if n.op_type == "LayerNormalization"]
    # The last layer's query is only for the pooled state: it has its own matrix, after its own norm.
    *matrices, query, rest, mixed, fc1, fc2, projection = matrices
    matrices += [_beside(query, rest), mixed, fc1, fc2, projection]
    del norms[-4]
    return Tower(matrices, norms, named, any(node.op_type == "Sigmoid" for node in graph.node))


def _beside(one: Matrix, other: Matrix) -> Matrix:
    """The concatenation of two matrices for the same states."""
    both = _biased(one), _biased(other)
    return torch.cat([weight for weight, _ in both], dim=1), torch.cat([bias for _, bias in both])


def _biased(matrix: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = matrix
    if bias is None:
        raise SystemExit("a matrix without a bias: not a CLIP that transformers knows")
    return weight, bias


def layer_weights(tower: Tower, prefix: str, first_norm: int) -> Weights:
    """The transformer's layers under Hugging Face's names."""
    found: Weights = {}
    for layer in range(tower.layers):
        (joint, joint_bias), *others = map(_biased, tower.matrices[4 * layer : 4 * layer + 4])
        base = f"{prefix}.encoder.layers.{layer}"
        for part, weight, bias in zip("qkv", joint.chunk(3, 1), joint_bias.chunk(3), strict=True):
            found[f"{base}.self_attn.{part}_proj.weight"] = weight.T.contiguous()
            found[f"{base}.self_attn.{part}_proj.bias"] = bias.clone()
        for name, (matrix, vector) in zip(("self_attn.out_proj", "mlp.fc1", "mlp.fc2"), others, strict=True):
            found[f"{base}.{name}.weight"], found[f"{base}.{name}.bias"] = matrix.T.contiguous(), vector
        for number in (1, 2):
            weight, bias = tower.norms[first_norm + 2 * layer + number - 1]
            found[f"{base}.layer_norm{number}.weight"] = weight
            found[f"{base}.layer_norm{number}.bias"] = bias
    return found


def all_weights(image: Tower, text: Tower, logit_scale: float) -> Weights:
    """The state of a transformers.CLIPModel."""
    named = image.named
    patches = named["visual.conv1.weight"]  # [W, 3, patch, patch]
    class_token = next(t for t in named.values() if t.dim() == 3 and t.shape[:2] == (1, 1))
    found = {
        "logit_scale": torch.tensor(math.log(logit_scale)),
        "vision_model.embeddings.class_embedding": class_token.flatten(),
        "vision_model.embeddings.patch_embedding.weight": patches,
        "vision_model.embeddings.position_embedding.weight": named["visual.positional_embedding"],
        "visual_projection.weight": image.matrices[-1][0].T.contiguous(),
        "text_model.embeddings.token_embedding.weight": text.named["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": text.named["positional_embedding"],
        "text_projection.weight": text.matrices[-1][0].T.contiguous(),
    }
    for name, (weight, bias) in (
        ("vision_model.pre_layrnorm", image.norms[0]),
        ("vision_model.post_layernorm", image.norms[-1]),
        ("text_model.final_layer_norm", text.norms[-1]),
    ):
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias
    return (
        found
        | layer_weights(image, "vision_model", first_norm=1)
        | layer_weights(text, "text_model", first_norm=0)
    )


def configuration(weights: Weights, image: Tower, text: Tower, manifest: dict[str, Any]) -> CLIPConfig:
    """The configuration for transformers."""

    def tower(found: Tower) -> dict[str, Any]:
        width = found.norms[0][0].shape[0]
        return {
            "hidden_size": width,
            "intermediate_size": found.matrices[2][0].shape[1],
            "num_hidden_layers": found.layers,
            "num_attention_heads": width // _HEAD_SIZE,
            "hidden_act": "quick_gelu" if found.quick_gelu else "gelu",
            "projection_dim": manifest["embed_dim"],
        }

    tokens = weights["text_model.embeddings.token_embedding.weight"].shape[0]
    end = manifest["text"]["eot_id"]
    patches = weights["vision_model.embeddings.patch_embedding.weight"]
    size = {"image_size": manifest["image"]["size"], "patch_size": patches.shape[-1]}
    length = {"vocab_size": tokens, "max_position_embeddings": manifest["text"]["context_length"]}
    ends = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    own = {"vision_config": tower(image) | size, "text_config": tower(text) | length | ends}
    return CLIPConfig(projection_dim=manifest["embed_dim"], **own)


def write_tokenizer(artifact: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """The artifact's tokenizer, for transformers' CLIPTokenizerFast."""
    shutil.copy(artifact / "tokenizer.json", folder / "tokenizer.json")
    model = json.loads((artifact / "tokenizer.json").read_text("utf-8"))["model"]
    tokens = {number: token for token, number in model["vocab"].items()}
    end = tokens[manifest["text"]["eot_id"]]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": manifest["text"]["context_length"],
        "bos_token": tokens[manifest["text"]["eot_id"] - 1],
        **dict.fromkeys(("eos_token", "pad_token", "unk_token"), end),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def main() -> None:
    artifact, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((artifact / "model.json").read_text("utf-8"))
    image, text = read_tower(artifact / "image.onnx"), read_tower(artifact / "text.onnx")
    weights = all_weights(image, text, manifest["scoring"]["logit_scale"])
    model = CLIPModel(configuration(weights, image, text, manifest)).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or [name for name in missing if not name.endswith("position_ids")]:
        raise SystemExit(f"weights that do not fit: missing {missing}, unexpected {unexpected}")
    model.save_pretrained(folder)
    size = manifest["image"]["size"]
    scale, shift = image.named["scale"], image.named["shift"]  # pixel * scale - shift
    std = 1 / (255 * scale)
    processor = CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=(shift * std).tolist(),
        image_std=std.tolist(),
    )
    processor.save_pretrained(folder)
    write_tokenizer(artifact, folder, manifest)


if __name__ == "__main__":
    main()
