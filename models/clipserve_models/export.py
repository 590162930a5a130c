"""Checkpoint -> artifact.

Only this module's imports and `evaluation.reference` import torch and open_clip. The graphs are traced from
open_clip's modules, wrapped for the contract of `clipserve.clip.artifact`. The unchanged open_clip model computes
the expected vectors, with texts padded to the full context length, so the comparison at the end also checks the
wrapping.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipserve.clip import reference, reference_inputs
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER
from clipserve.clip.manifest import ImageSpec, ModelManifest, ReferenceVectors, ScoringSpec, Source, TextSpec
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve_models import checkpoint, verify
from clipserve_models.artifact import checksums, replacing, write_manifest
from clipserve_models.catalog import RANDOM, Entry
from clipserve_models.errors import ModelsError
from clipserve_models.simplified import reparameterize, simplify
from clipserve_models.tokenizer_json import convert
from clipserve_models.towers import text_encoder
from clipserve_models.tracing import trace_image, trace_text
from clipserve_models.verify import Case


def export(
    entry: Entry,
    out: Path,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    seed: int = 0,
    own: tuple[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = print,
) -> ModelManifest:
    """Write the artifact of `entry` to the folder `out`, and check it in onnxruntime; `say` gets each stage.

    `weights`, `own`: see `checkpoint.load`. An artifact at `out` is replaced only after the new one has passed the
    check.

    Raises:
        ModelsError: the weights cannot be obtained, the model cannot be exported, or the graphs differ from it.
    """
    with replacing(out) as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        say(f"building {entry.model} ({'random weights' if random_weights else entry.pretrained or weights})")
        model, source = checkpoint.load(
            entry, weights=weights, random_weights=random_weights, seed=seed, own=own
        )
        image = _image_spec(model)
        texts = text_encoder(model).eval()

        say("converting the tokenizer")
        text, original = _write_tokenizer(entry.model, folder, trims=texts.trims)

        say("computing the expected vectors")
        cases = _cases(model, image, load_tokenizer(folder, text), original, text)
        vectors = _reference_vectors(model, image, original, cases)

        reparameterize(model)
        simplify(model)
        say("exporting the image encoder")
        trace_image(model, image.size, folder / IMAGE_GRAPH)
        say("exporting the text encoder")
        trace_text(texts, text, folder / TEXT_GRAPH)

        say("comparing with PyTorch")
        manifest = _manifest(entry, model, image, text, source, vectors, checksums(folder))
        write_manifest(folder, manifest)
        verify.check(folder, cases, "PyTorch", say)
    say(f"wrote {out}: {manifest.fingerprint()}")
    return manifest


def _image_spec(model: Any) -> ImageSpec:
    config = model.visual.preprocess_cfg
    sides = set(np.ravel(config["size"]).tolist())
    if len(sides) != 1:
        raise ModelsError(
            f"this model takes images of {config['size']} pixels; the service makes square images only."
        )
    resize, interpolation = config["resize_mode"], config["interpolation"]
    if resize not in ("shortest", "squash") or interpolation not in ("bicubic", "bilinear"):
        raise ModelsError(f"this model's images are resized by {resize!r}, {interpolation!r}: not supported.")
    return ImageSpec(size=sides.pop(), resize=resize, interpolation=interpolation)


def _write_tokenizer(model_name: str, folder: Path, *, trims: bool) -> tuple[TextSpec, Any]:
    """Write tokenizer.json; `trims`: that of the text encoder.

    Returns:
        its rules, and open_clip's tokenizer, which gives the same ids.

    Raises:
        ModelsError: open_clip's tokenizer cannot be loaded or converted, or the two give different ids.
    """
    original = checkpoint.tokenizer_of(model_name)
    converted = convert(original)
    converted.tokenizer.save(str(folder / TOKENIZER), pretty=False)
    text = TextSpec(
        context_length=original.context_length,
        padding="trim" if trims else "fixed",
        pad_id=converted.pad_id,
        eot_id=converted.eot_id,
        cleaning=converted.cleaning,
    )
    texts = list(reference_inputs.TOKEN_TEXTS)
    tokenizer = load_tokenizer(folder, text)
    ids, _ = tokenizer.pad(tokenizer.encode(texts, truncate=True), text.context_length)
    wrong = [
        t for t, a, b in zip(texts, ids, original(texts).numpy(), strict=True) if not np.array_equal(a, b)
    ]
    if wrong:
        raise ModelsError(f"the converted tokenizer gives other ids than open_clip's for {wrong}.")
    return text, original


def _cases(model: Any, image: ImageSpec, tokenizer: Tokenizer, original: Any, text: TextSpec) -> list[Case]:
    """What the graphs must give: open_clip's own vectors, from its own normalisation and its own token ids."""
    three = np.random.default_rng(0).integers(0, 256, (3, image.size, image.size, 3), np.uint8)
    pixels = np.concatenate([reference.reference_pixels(image.size), three])  # [5, S, S, 3]
    images = model.encode_image(checkpoint.normalized(model, pixels), normalize=True)
    texts = model.encode_text(original(list(reference.REFERENCE_TEXTS)), normalize=True)
    return verify.cases(pixels, np.asarray(images, np.float32), tokenizer, text, np.asarray(texts))


def _reference_vectors(model: Any, image: ImageSpec, original: Any, cases: list[Case]) -> ReferenceVectors:
    """open_clip's results for the reference inputs: vectors, the pixels of a file, and the tokens of strings."""
    images, texts = (case.expected.astype(float).round(8).tolist() for case in cases[:2])
    config = model.visual.preprocess_cfg
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    photo = transform(
        Image.open(io.BytesIO(reference_inputs.reference_photo(image.size)))
    )  # [3, S, S], normalized
    pixels = photo.numpy().transpose(1, 2, 0) * np.array(config["std"]) + np.array(config["mean"])
    return ReferenceVectors(
        image_embeddings=images,
        text_embeddings=texts,
        pixels=reference_inputs.sample((pixels * 255).round().astype(np.uint8)),
        token_ids=reference_inputs.digest(original(list(reference_inputs.TOKEN_TEXTS)).numpy()),
    )


def _manifest(
    entry: Entry,
    model: Any,
    image: ImageSpec,
    text: TextSpec,
    source: Source,
    vectors: ReferenceVectors,
    files: dict[str, str],
) -> ModelManifest:
    bias = model.logit_bias
    return ModelManifest(
        name=f"{entry.name}{RANDOM}" if source.random_weights else entry.name,
        embed_dim=len(vectors.image_embeddings[0]),
        image=image,
        text=text,
        scoring=ScoringSpec(
            # Only models that were trained with the sigmoid loss have a bias.
            function="softmax" if bias is None else "sigmoid",
            logit_scale=model.logit_scale.exp().item(),
            logit_bias=0.0 if bias is None else bias.item(),
        ),
        files=files,
        source=source,
        reference=vectors,
    )
