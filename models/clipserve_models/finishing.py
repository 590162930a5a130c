"""How every fp32 artifact ends: its manifest, and its graphs beside a second computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers
from PIL import Image

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER
from clipserve.clip.manifest import ImageSpec, ModelManifest, ReferenceVectors, ScoringSpec, Source, TextSpec
from clipserve.clip.reference import reference_pixels
from clipserve.clip.reference_inputs import TOKEN_TEXTS, digest, reference_photo, sample
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve_models import verify
from clipserve_models.artifact import checksums, replacing, write_manifest
from clipserve_models.reference import preprocessed
from clipserve_models.tensors import Floats


@dataclass(frozen=True)
class Described:
    """What a manifest says besides the files and what they give."""

    name: str
    image: ImageSpec
    text: TextSpec
    scoring: ScoringSpec
    source: Source


@dataclass(frozen=True)
class Expected:
    """What a second computation, `by`, gives for the inputs of `clipserve.clip.reference` and `reference_inputs`.

    Attributes:
        pixels: uint8 [5, S, S, 3], the two of `reference_pixels` first.
        images: float32 [5, D], what they become; texts: [3, D], what `REFERENCE_TEXTS` become. Of unit length.
        photo: uint8 [S, S, 3], what `reference_photo` becomes.
        token_ids: [N, L], what `TOKEN_TEXTS` become.
    """

    by: str
    pixels: npt.NDArray[np.uint8]
    images: Floats
    texts: Floats
    photo: npt.NDArray[np.uint8]
    token_ids: npt.NDArray[np.integer]


def expect(
    by: str, image: ImageSpec, images: Floats, texts: Floats, token_ids: npt.NDArray[np.integer]
) -> Expected:
    """`images`: [2, D], what `by` gives for `reference_pixels`; the same two are a batch of another order."""
    five = [0, 1, 1, 0, 1]
    # As Pillow resizes it, which the service does by code of its own.
    photo = preprocessed(Image.open(BytesIO(reference_photo(image.size))), image)
    return Expected(by, reference_pixels(image.size)[five], images[five], texts, photo, token_ids)


Writer = Callable[[Path], object]  # writes a graph to a path


def make(
    out: Path,
    described: Described,
    tokenizer: tokenizers.Tokenizer,
    image: Writer,
    text: Writer,
    expected: Callable[[Tokenizer], Expected],
    say: Callable[[str], None],
) -> ModelManifest:
    """Write the artifact to the folder `out`; `say` gets each stage.

    An artifact at `out` is replaced only after the new one has passed the check.

    Args:
        expected: computes the expected vectors, given the tokenizer as the service reads it.

    Raises:
        ModelsError, ArtifactError: the graphs give other vectors than the expected ones, or `out` is no artifact.
    """
    with replacing(out) as folder:
        say("writing the graphs")
        image(folder / IMAGE_GRAPH)
        text(folder / TEXT_GRAPH)
        tokenizer.save(str(folder / TOKENIZER), pretty=False)
        saved = load_tokenizer(folder, described.text)
        say("computing the expected vectors")
        manifest = _finish(folder, described, saved, expected(saved), say)
    say(f"wrote {out}: {manifest.fingerprint()}")
    return manifest


def ids_by_service(tokenizer: Tokenizer, text: TextSpec) -> npt.NDArray[np.int32]:
    """`TOKEN_TEXTS`, where no library but this one has the tokenizer: [N, L]."""
    return tokenizer.pad(tokenizer.encode(TOKEN_TEXTS, truncate=True), text.context_length)[0]


def _finish(
    folder: Path,
    described: Described,
    tokenizer: Tokenizer,
    expected: Expected,
    say: Callable[[str], None],
) -> ModelManifest:
    """Write the manifest of an artifact whose other files are in `folder`, and check it in onnxruntime."""
    say(f"comparing with {expected.by}")
    manifest = ModelManifest(
        name=described.name,
        embed_dim=expected.images.shape[1],
        image=described.image,
        text=described.text,
        scoring=described.scoring,
        files=checksums(folder),
        source=described.source,
        reference=ReferenceVectors(
            image_embeddings=expected.images[:2].astype(float).round(8).tolist(),
            text_embeddings=expected.texts.astype(float).round(8).tolist(),
            pixels=sample(expected.photo),
            token_ids=digest(expected.token_ids),
        ),
    )
    write_manifest(folder, manifest)
    cases = verify.cases(expected.pixels, expected.images, tokenizer, described.text, expected.texts)
    verify.check(folder, cases, expected.by, say)
    return manifest
