"""Weights in safetensors -> artifact, without PyTorch.

The graphs are written from the weights, and compared with a second computation of the same weights, `reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from clipserve.clip import reference as inputs
from clipserve.clip.manifest import ModelManifest, Source
from clipserve.clip.tokenizer import Tokenizer
from clipserve_models import reference
from clipserve_models.errors import ModelsError
from clipserve_models.finishing import Described, Expected, expect, ids_by_service, make
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.model_files import Checkpoint
from clipserve_models.roles import check_tensors, roles


def build(
    checkpoint: Checkpoint, out: Path, *, name: str, source: Source, say: Callable[[str], None] = print
) -> ModelManifest:
    """Write the artifact to the folder `out`, named `name`, as `make` does. Equal weights give equal bytes.

    Raises:
        ModelsError: the checkpoint contradicts itself, or the graphs differ from numpy's vectors.
    """
    _check_facts(checkpoint)
    architecture, tensors = checkpoint.architecture, checkpoint.tensors
    image, text, dim = architecture.image, architecture.text, architecture.embed_dim
    check_tensors(roles(architecture), tensors)
    weights = image_weights(image, tensors, checkpoint.mean, checkpoint.std)
    return make(
        out,
        Described(name, checkpoint.image, checkpoint.text, checkpoint.scoring, source),
        checkpoint.tokenizer,
        partial(write_image, tower=image, embed_dim=dim, weights=weights),
        partial(write_text, tower=text, embed_dim=dim, weights=text_weights(text, tensors)),
        partial(_expected, checkpoint),
        say,
    )


def _check_facts(checkpoint: Checkpoint) -> None:
    """Raises ModelsError if the preprocessing is not that of the encoders. Vectors alone would not say so."""
    image, text = checkpoint.architecture.image, checkpoint.architecture.text
    for what, given, needed in (
        ("an image's side", checkpoint.image.size, image.size),
        ("the context length", checkpoint.text.context_length, text.context_length),
        ("the padding of texts", checkpoint.text.padding, "trim" if text.trims else "fixed"),
    ):
        if given != needed:
            raise ModelsError(
                f"the files of this model contradict each other: {what} is {given} in the preprocessing and "
                f"{needed} in the encoder."
            )


def _expected(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Expected:
    """By numpy, of the same weights."""
    architecture, tensors = checkpoint.architecture, checkpoint.tensors
    rows = tokenizer.encode(inputs.REFERENCE_TEXTS, truncate=True)
    token_ids, lengths = tokenizer.pad(rows, checkpoint.text.context_length)
    if (largest := token_ids.max()) >= (vocabulary := architecture.text.vocabulary):
        raise ModelsError(
            f"the tokenizer gives the token {largest:,}, and the encoder has {vocabulary:,} tokens: they are of "
            "two models."
        )
    pixels = inputs.reference_pixels(checkpoint.image.size)  # [2, S, S, 3]
    images = reference.encode_images(architecture, tensors, pixels, checkpoint.mean, checkpoint.std)
    texts = reference.encode_texts(architecture, tensors, token_ids, lengths)
    return expect("numpy", checkpoint.image, images, texts, ids_by_service(tokenizer, checkpoint.text))
