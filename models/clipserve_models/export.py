"""Checkpoint of open_clip -> artifact, in the environment with PyTorch.

An encoder that `layouts` knows is built from its weights, as in `build`; another one is traced. open_clip's own
model computes the expected vectors, with texts padded to the full context length.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipserve.clip import reference
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import Cleaning, ModelManifest, TextSpec
from clipserve.clip.reference_inputs import TOKEN_TEXTS, reference_photo
from clipserve.clip.tokenizer import Tokenizer
from clipserve_models import checkpoint, traced
from clipserve_models.architecture import AnyImageTower, TextTower, tower_roles
from clipserve_models.artifact import replacing
from clipserve_models.catalog import RANDOM, Entry
from clipserve_models.errors import ModelsError
from clipserve_models.finishing import Described, Expected, finish, save_tokenizer
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.facts import Facts
from clipserve_models.layouts.open_clip_folder import (
    assign_image,
    assign_text,
    image_of,
    image_tower,
    text_tower,
)
from clipserve_models.layouts.texts import TextGraph, Texts, TextShape, open_clip_texts, spec_of
from clipserve_models.tensors import Tensor

T = TypeVar("T")
_CLEANING: dict[str, Cleaning] = {
    "_clean_lower": "lower",
    "_clean_whitespace": "whitespace",
    "_clean_canonicalize": "canonicalize",
}


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
        config, images = checkpoint.facts_of(entry.model, model)
        spec = image_of(images, images.side("size"))
        image, text = _known(image_tower, config), _known(text_tower, config)
        texts, original = _texts(entry.model, text)
        tokenizer = save_tokenizer(folder, texts.tokenizer, texts.spec)

        say("computing the expected vectors")
        expected = _expected(model, spec.size, original)
        _compare_ids(tokenizer, expected.token_ids, entry.model)

        weights_of_texts = _weights(model, image=False)
        scoring = weights_of_texts.scoring(sigmoid="logit_bias" in weights_of_texts)
        dim = expected.images.shape[1]
        made = _write_image(model, image, spec.size, dim, folder / IMAGE_GRAPH)
        say(f"the image encoder is {made}")
        made = _write_text(model, text, weights_of_texts, texts.spec, dim, folder / TEXT_GRAPH)
        say(f"the text encoder is {made}")
        name = f"{entry.name}{RANDOM}" if random_weights else entry.name
        described = Described(name, spec, texts.spec, scoring, source)
        manifest = finish(folder, described, tokenizer, expected, say)
    say(f"wrote {out}: {manifest.fingerprint()}")
    return manifest


def _known(read: Callable[[Facts], T], config: Facts) -> T | None:
    """The tower that `read` finds in open_clip's configuration; None: it is of a kind that must be traced."""
    try:
        return read(config)
    except ModelsError:
        return None


def _texts(model_name: str, tower: TextTower | None) -> tuple[Texts, Any]:
    """The tokenizer, and open_clip's own. Raises ModelsError: it cannot be loaded, or cleans texts otherwise."""
    original = checkpoint.tokenizer_of(model_name)
    cleaning = _CLEANING.get(getattr(original.clean_fn, "__name__", ""))
    if cleaning is None:
        raise ModelsError(f"this tokenizer cleans texts with {original.clean_fn}, which the service cannot.")
    shape: TextShape = tower or TextGraph(original.context_length)
    if hasattr(original, "bpe_ranks"):
        return open_clip_texts(shape, cleaning), original
    fast = original.tokenizer  # transformers' own, which already holds a tokenizers.Tokenizer
    end = fast.sep_token_id if fast.eos_token_id is None else fast.eos_token_id
    return Texts(fast.backend_tokenizer, spec_of(shape, fast.pad_token_id, end, cleaning)), original


def _compare_ids(tokenizer: Tokenizer, ids: npt.NDArray[np.integer], model_name: str) -> None:
    """Raises ModelsError: open_clip gives the test's texts other `ids`, as where it changes them afterwards."""
    own, _ = tokenizer.pad(tokenizer.encode(TOKEN_TEXTS, truncate=True), ids.shape[1])
    wrong = [text for text, a, b in zip(TOKEN_TEXTS, own, ids, strict=True) if not np.array_equal(a, b)]
    if wrong:
        raise ModelsError(
            f"the tokenizer of {model_name} gives other ids in open_clip than it can in the service for {wrong}: "
            "such a model is not exported."
        )


def _expected(model: Any, size: int, original: Any) -> Expected:
    """What open_clip gives, by its own transform, normalisation and token ids."""
    three = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    pixels = np.concatenate([reference.reference_pixels(size), three])  # [5, S, S, 3]
    config = model.visual.preprocess_cfg
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    photo = transform(Image.open(io.BytesIO(reference_photo(size))))  # [3, S, S], normalized
    plain = photo.numpy().transpose(1, 2, 0) * np.array(config["std"]) + np.array(config["mean"])
    return Expected(
        by="PyTorch",
        pixels=pixels,
        images=np.asarray(model.encode_image(checkpoint.normalized(model, pixels), normalize=True)),
        texts=np.asarray(model.encode_text(original([*reference.REFERENCE_TEXTS]), normalize=True)),
        photo=(plain * 255).round().astype(np.uint8),
        token_ids=original([*TOKEN_TEXTS]).numpy(),
    )


def _write_image(model: Any, tower: AnyImageTower | None, size: int, dim: int, path: Path) -> str:
    """Returns how the graph was made."""
    if tower is None:
        traced.trace_image(model, size, path, dim)
        return "traced"
    assign_image(weights := _weights(model, image=True), tower)
    tensors, config = weights.finished(tower_roles(tower, dim)), model.visual.preprocess_cfg
    write_image(path, tower, dim, image_weights(tower, tensors, config["mean"], config["std"]))
    return "built from its weights"


def _write_text(
    model: Any, tower: TextTower | None, weights: Assignment, spec: TextSpec, dim: int, path: Path
) -> str:
    """Returns how the graph was made."""
    if tower is None:
        traced.trace_text(model, spec.context_length, path, dim)
        return "traced"
    assign_text(weights, tower)
    write_text(path, tower, dim, text_weights(tower, weights.finished(tower_roles(tower, dim))))
    return "built from its weights"


def _weights(model: Any, *, image: bool) -> Assignment:
    """Of the image encoder, or all others."""
    values = {key: each for key, each in model.state_dict().items() if key.startswith("visual.") == image}
    return Assignment(
        "open_clip's model",
        {
            key: Tensor(tuple(each.shape), each.float().numpy, each.is_floating_point())
            for key, each in values.items()
        },
    )
