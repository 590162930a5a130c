"""Loads a model of open_clip with its weights, or with random ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from clipserve.clip.manifest import ModelManifest, Source
from clipserve_models.artifact import sha256_of
from clipserve_models.catalog import Entry
from clipserve_models.errors import ModelsError, first_line, not_from_hub, not_installed
from clipserve_models.layouts.facts import Facts

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


def tags() -> dict[str, list[str]]:
    """The models that open_clip can build, each with the tags of its weights."""
    return {name: open_clip.list_pretrained_tags_by_model(name) for name in open_clip.list_models()}


def load(
    entry: Entry,
    *,
    weights: Path | None,
    random_weights: bool,
    seed: int,
    own: tuple[str, Mapping[str, Any]] | None = None,
) -> tuple[Any, Source]:
    """The model in evaluation mode, fp32, and the origin of its weights.

    `weights`: a file with the weights of the entry's tag, instead of a download. `own`: if they are the user's,
    their origin, and what is told of them as a tag tells it.

    Raises:
        ModelsError: a model of this kind cannot be exported, or its weights cannot be obtained.
    """
    tag = open_clip.get_pretrained_cfg(entry.model, entry.pretrained) if entry.pretrained else {}
    if own:
        tag = dict(own[1])
    _configuration(entry.model).section("vision_cfg").side("image_size", 224)  # refused before a download
    if random_weights:
        path = None
        made = f"open_clip {entry.model}, random weights of seed {seed}"
        source = Source(checkpoint=made, licence="none: random weights", random_weights=True, seed=seed)
    else:
        path = weights or _download(entry, tag)
        digest = sha256_of(path)
        source = Source(
            checkpoint=own[0] if own else _origin(tag),
            revision=_commit(path) or f"sha256:{digest}",
            licence=entry.licence,
            files={path.name: digest},
        )
    torch.manual_seed(seed)
    model = _created(entry.model, tag)
    if path is None:
        _randomize_zeros(model)
    else:
        _load_weights(model, path)
    names = {"model": entry.model, "pretrained": entry.pretrained}
    return model.eval(), source.model_copy(update=names)


def _created(name: str, tag: Mapping[str, Any]) -> Any:
    """The model with random weights.

    The activation and the preprocessing belong to the weights, but open_clip sets them only if it loads the weights
    itself: OpenAI's need QuickGELU, and the configuration of "ViT-B-32" has GELU.
    """
    try:
        return open_clip.create_model(
            name,
            force_quick_gelu=tag.get("quick_gelu", False),
            force_preprocess_cfg={key: tag[key] for key in _PREPROCESSING if key in tag},
            pretrained_text=False,  # the checkpoint also has the weights of a text encoder of transformers
        )
    except OSError as error:  # from transformers, which looks for its encoder's configuration
        raise not_from_hub(f"the configuration of {name}'s text encoder", error) from None


def tokenizer_of(model_name: str) -> Any:
    """open_clip's tokenizer. Raises ModelsError: it needs a missing package or missing files."""
    try:
        return open_clip.get_tokenizer(model_name)
    except ImportError as error:  # open_clip imports transformers only for the tokenizers that need it
        raise not_installed(error) from None
    except Exception as error:  # transformers, huggingface_hub and httpx each have exceptions of their own
        raise not_from_hub(f"the tokenizer of {model_name}", error) from None


def normalized(model: Any, pixels: npt.NDArray[np.uint8]) -> Tensor:
    """Apply the model's own preprocessing to pixels of its size: [N, S, S, 3] -> float32 [N, 3, S, S]."""
    config = model.visual.preprocess_cfg
    mean, std = (torch.tensor(config[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std


def check_origin(manifest: ModelManifest, weights: Path | None) -> None:
    """Raises ModelsError if an artifact lacks what is needed to load its model again."""
    source = manifest.source
    if source.model is None:
        raise ModelsError(
            f"{manifest.name} does not say which model of open_clip it was exported from ({source.checkpoint}): "
            "its weights cannot be loaded again. A model that open_clip does not have has no fp16 variant, and "
            "cannot be a reference."
        )
    if not (source.random_weights or source.pretrained or weights):
        raise ModelsError(
            f"{manifest.name} was exported from a file of weights ({source.revision}): give it with --weights FILE."
        )


def load_again(manifest: ModelManifest, weights: Path | None) -> Any:
    """The model that an artifact was exported from, with its weights.

    Raises:
        ModelsError: see `check_origin` and `load`; or the found weights are other files. A commit of the hub is not
            compared: it changes with every edit of a README.
    """
    check_origin(manifest, weights)
    source = manifest.source
    entry = Entry(
        name=manifest.name, model=source.model or "", pretrained=source.pretrained, licence=source.licence
    )
    model, found = load(entry, weights=weights, random_weights=source.random_weights, seed=source.seed or 0)
    recorded = set((source.files or {}).values())
    for name, digest in (found.files or {}).items():
        if digest not in recorded:
            raise ModelsError(
                f"{manifest.name} was not exported from {name} with the SHA-256 {digest}: its model.json has "
                f"{', '.join(sorted(recorded)) or 'none'}. Give its own file with --weights FILE, or export the "
                "artifact again."
            )
    return model


def facts_of(name: str, model: Any) -> tuple[Facts, Facts]:
    """What open_clip says of a model, and how its images are prepared: `model_cfg` and `preprocess_cfg`."""
    quick = any(isinstance(module, QuickGELU) for module in model.modules())
    images = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in model.visual.preprocess_cfg.items()
    }
    config = _configuration(name)
    return Facts(config.file, config.values | {"quick_gelu": quick}), Facts(
        config.file, images, "preprocess_cfg."
    )


def _configuration(name: str) -> Facts:
    config = open_clip.get_model_config(name)
    if config is None:
        raise ModelsError(f"open_clip has no model {name!r}. `clipserve models list` has some of its names.")
    return Facts(f"open_clip's {name}", config)


def _download(entry: Entry, tag: dict[str, Any]) -> Path:
    if not tag:
        choices = ", ".join(open_clip.list_pretrained_tags_by_model(entry.model)) or "open_clip knows none"
        raise ModelsError(f"the weights of {entry.model} are not named. Give --pretrained TAG: {choices}.")
    try:
        path = Path(open_clip.download_pretrained(tag))
    except Exception as error:  # huggingface_hub, httpx, urllib and open_clip each have errors of their own
        raise ModelsError(
            f"the weights {entry.pretrained!r} of {entry.model} could not be downloaded from {_origin(tag)}: "
            f"{first_line(error)}\nBehind a proxy, set HTTPS_PROXY. If the weights are in a cache of the hub's, "
            "set HF_HOME. If you have the file, give --weights FILE. For timing or tests, use --random-weights."
        ) from None
    if entry.digest and (digest := sha256_of(path)) != entry.digest:
        raise ModelsError(
            f"{path} has the SHA-256 {digest}, and the catalog has {entry.digest} of the weights of {entry.name}: "
            "they are others. Upgrade clipserve-models, or do not use this mirror."
        )
    return path


def _origin(tag: dict[str, Any]) -> str:
    hub, url = tag.get("hf_hub", ""), tag.get("url", "")
    return f"https://huggingface.co/{hub.strip('/')}" if hub else url or "open_clip, no published weights"


def _commit(path: Path) -> str | None:
    """The hub's commit of a file in its cache, .../snapshots/COMMIT/file."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        open_clip.load_checkpoint(model, str(path))
    except Exception as error:  # the exception depends on whether the file is truncated or of another model
        raise ModelsError(f"{path} does not hold weights of this model: {first_line(error)}") from None


def _randomize_zeros(model: nn.Module) -> None:
    """Give random weights to the layers that are zero before training.

    With zeros the branches of a ResNet add nothing, and a wrong graph could give the right vectors.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            if module.running_mean is not None and module.running_var is not None:
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.0)
