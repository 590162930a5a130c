"""Weights in safetensors -> artifact, without PyTorch.

The graphs are written from the weights, and compared with a second computation of the same weights, `reference`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipserve.clip import reference as inputs
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER
from clipserve.clip.manifest import ModelManifest, ReferenceVectors, Source
from clipserve.clip.reference_inputs import TOKEN_TEXTS, digest, reference_photo, sample
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve_models import reference, verify
from clipserve_models.architecture import check_tensors
from clipserve_models.artifact import checksums, replacing, write_manifest
from clipserve_models.errors import ModelsError
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.model_files import Checkpoint
from clipserve_models.weights import Floats


def build(
    checkpoint: Checkpoint, out: Path, *, name: str, source: Source, say: Callable[[str], None] = print
) -> ModelManifest:
    """Write the artifact to the folder `out`, named `name`; `say` gets each stage.

    An artifact at `out` is replaced only after the new one has passed the check. Equal weights give equal bytes.

    Raises:
        ModelsError: the checkpoint contradicts itself, or the graphs differ from numpy's vectors.
    """
    _check_facts(checkpoint)
    architecture, tensors = checkpoint.architecture, checkpoint.tensors
    check_tensors(architecture, tensors)
    with replacing(out) as folder:
        say("writing the graphs")
        weights = image_weights(architecture, tensors, checkpoint.mean, checkpoint.std)
        write_image(folder / IMAGE_GRAPH, architecture, weights)
        write_text(folder / TEXT_GRAPH, architecture, text_weights(architecture, tensors))
        checkpoint.tokenizer.save(str(folder / TOKENIZER), pretty=False)
        tokenizer = load_tokenizer(folder, checkpoint.text)

        say("computing the expected vectors in numpy")
        pixels = inputs.reference_pixels(checkpoint.image.size)  # [2, S, S, 3]
        images, texts = _vectors(checkpoint, pixels, tokenizer)

        say("comparing with numpy")
        manifest = ModelManifest(
            name=name,
            embed_dim=architecture.embed_dim,
            image=checkpoint.image,
            text=checkpoint.text,
            scoring=checkpoint.scoring,
            files=checksums(folder),
            source=source,
            reference=_reference(checkpoint, images, texts, tokenizer),
        )
        write_manifest(folder, manifest)
        five = [0, 1, 1, 0, 1]  # the same two, in a batch of another order
        cases = verify.cases(pixels[five], images[five], tokenizer, checkpoint.text, texts)
        verify.check(folder, cases, "numpy", say)
    say(f"wrote {out}: {manifest.fingerprint()}")
    return manifest


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


def _vectors(
    checkpoint: Checkpoint, pixels: npt.NDArray[np.uint8], tokenizer: Tokenizer
) -> tuple[Floats, Floats]:
    """numpy's, of the reference images [2, D] and texts [3, D]."""
    architecture, tensors = checkpoint.architecture, checkpoint.tensors
    rows = tokenizer.encode(inputs.REFERENCE_TEXTS, truncate=True)
    token_ids, lengths = tokenizer.pad(rows, checkpoint.text.context_length)
    _check_tokens(token_ids, architecture.text.vocabulary)
    images = reference.encode_images(architecture, tensors, pixels, checkpoint.mean, checkpoint.std)
    return images, reference.encode_texts(architecture, tensors, token_ids, lengths)


def _reference(
    checkpoint: Checkpoint, images: Floats, texts: Floats, tokenizer: Tokenizer
) -> ReferenceVectors:
    """With what Pillow makes of the photo, which the service resizes by code of its own."""
    photo = Image.open(io.BytesIO(reference_photo(checkpoint.image.size)))
    rows = tokenizer.encode(TOKEN_TEXTS, truncate=True)
    token_ids, _ = tokenizer.pad(rows, checkpoint.text.context_length)
    return ReferenceVectors(
        image_embeddings=images.astype(float).round(8).tolist(),
        text_embeddings=texts.astype(float).round(8).tolist(),
        pixels=sample(reference.preprocessed(photo, checkpoint.image)),
        token_ids=digest(token_ids),
    )


def _check_tokens(token_ids: npt.NDArray[np.int32], vocabulary: int) -> None:
    if (largest := token_ids.max()) >= vocabulary:
        raise ModelsError(
            f"the tokenizer gives the token {largest:,}, and the encoder has {vocabulary:,} tokens: they are of "
            "two models."
        )
