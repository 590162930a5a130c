"""The tensors of transformers' models by their roles."""

from __future__ import annotations

from clipserve_models.architecture import Architecture, Bert, ImageTower
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.tensors import Tensor

# Roles -> names of a block, and of SigLIP's attention pooling.
_BLOCK = {
    "norm1": "layer_norm1",
    "qkv": "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
    "out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
_BERT = {
    "qkv": "attention.self.query attention.self.key attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
_HEAD = {"out": "attention.out_proj", "norm": "layernorm", "up": "mlp.fc1", "down": "mlp.fc2"}


def assign(found: Assignment, architecture: Architecture, places: int) -> None:
    """Give all tensors of a model their roles. `places`: of a text, that have an embedding.

    Raises:
        ModelsError: one is missing.
    """
    image, text = architecture.image, architecture.text
    assert isinstance(image, ImageTower)  # transformers has no other
    vision, words = "vision_model.embeddings", "text_model.embeddings"
    found.give("image.patch", f"{vision}.patch_embedding", bias=image.patch_bias)
    found.roles["image.positions"] = found.take(f"{vision}.position_embedding.weight")
    found.give_blocks("image", "vision_model.encoder.layers", image, _BLOCK)
    found.give("image.norm", "vision_model.post_layernorm")
    if image.pooling == "attention":
        _pool(found, image.width)
    else:
        found.roles["image.class"] = found.take(f"{vision}.class_embedding")
        found.give("image.pre_norm", "vision_model.pre_layrnorm")  # so spelled
        found.give("image.projection", "visual_projection", bias=False)
    if isinstance(text, Bert):
        assign_bert(found, text, "text_model", places)
        found.give("text.projection", "text_projection", bias=False)
        return
    found.roles["text.tokens"] = found.take(f"{words}.token_embedding.weight")
    positions = found.take(f"{words}.position_embedding.weight", places, text.width)
    found.roles["text.positions"] = positions.rows(0, text.context_length)
    found.give_blocks("text", "text_model.encoder.layers", text, _BLOCK)
    found.give("text.norm", "text_model.final_layer_norm")
    projection = "text_model.head" if text.projection_bias else "text_projection"
    found.give("text.projection", projection, bias=text.projection_bias)


def assign_bert(found: Assignment, text: Bert, where: str, places: int) -> None:
    """Give the tensors of a BERT their roles, but for the projection. `places`: that have an embedding.

    Raises:
        ModelsError: one is missing.
    """
    words = f"{where}.embeddings"
    found.roles["text.tokens"] = found.take(f"{words}.word_embeddings.weight")
    positions = found.take(f"{words}.position_embeddings.weight", places, text.width)
    positions = positions.rows(0, text.context_length)
    types = found.take(f"{words}.token_type_embeddings.weight")  # a text has the first alone
    found.roles["text.positions"] = Tensor(positions.shape, lambda: positions.read() + types.read()[0])
    found.give("text.norm", f"{words}.LayerNorm")
    found.give_blocks("text", f"{where}.encoder.layer", text, _BERT)


def _pool(found: Assignment, width: int) -> None:
    head = "vision_model.head"
    found.roles["image.pool.probe"] = found.take(f"{head}.probe", 1, 1, width).reshaped(width)
    for part, shape in (("weight", (3 * width, width)), ("bias", (3 * width,))):
        joint = found.take(f"{head}.attention.in_proj_{part}", *shape)
        found.roles[f"image.pool.q.{part}"] = joint.rows(0, width)
        found.roles[f"image.pool.kv.{part}"] = joint.rows(width)
    found.give_all("image.pool", head, _HEAD)
