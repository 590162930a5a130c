"""The model that an artifact was exported from, in PyTorch, used as open_clip's README shows.

It loads weights as the exporter does; decoding, pixels, tokens and classifiers are open_clip's own.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from open_clip import build_zero_shot_classifier
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from clipserve.clip.artifact import read_manifest
from clipserve.clip.prompts import fill
from clipserve.commands.progress import Shown
from clipserve_models import checkpoint
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.metrics import Floats

T = TypeVar("T")
_IMAGES = 16  # in a call
_PROMPTS = 256


class Reference:
    """An `agreement.Original`. It computes in threads, so that Ctrl-C ends it after a call."""

    def __init__(self, folder: Path, weights: Path | None) -> None:
        """The artifact is in `folder`; `weights`: the file that it was exported from, if it was one.

        Raises:
            ArtifactError: the folder has no artifact.
            ModelsError: open_clip does not have its model, or the weights are not those.
        """
        manifest = read_manifest(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = checkpoint.load_again(manifest, weights)
            self._tokenizer = checkpoint.tokenizer_of(manifest.source.model or "")
        self._preprocess = image_transform_v2(
            PreprocessCfg(**self._model.visual.preprocess_cfg), is_train=False
        )
        revision = f", {manifest.source.revision}" if manifest.source.revision else ""
        self.about = f"{manifest.source.model}: {manifest.source.checkpoint}{revision}"
        self.embed_dim, self.templates = manifest.embed_dim, manifest.prompt_templates

    async def images(self, files: Iterable[tuple[str, bytes]]) -> Floats:
        return await _by_parts("images by open_clip", files, _IMAGES, self._images)

    async def texts(self, texts: Sequence[str]) -> Floats:
        return await _by_parts("texts by open_clip", texts, _PROMPTS, self._texts)

    async def labels(self, labels: Sequence[str], templates: Sequence[str]) -> Floats:
        # Not as strings: open_clip's `str.format` fills one slot only, and takes braces of a label for slots.
        fillers = [partial(fill, template) for template in templates]
        part = max(1, _PROMPTS // len(templates))
        return await _by_parts("labels by open_clip", labels, part, partial(self._labels, templates=fillers))

    @torch.no_grad()
    def _images(self, files: Sequence[tuple[str, bytes]]) -> Floats:
        pixels = torch.stack([self._preprocess(_opened(name, content)) for name, content in files])
        return np.asarray(self._model.encode_image(pixels, normalize=True))

    @torch.no_grad()
    def _texts(self, texts: Sequence[str]) -> Floats:
        return np.asarray(self._model.encode_text(self._tokenizer([*texts]), normalize=True))

    def _labels(self, labels: Sequence[str], templates: Sequence[Callable[[str], str]]) -> Floats:
        columns = build_zero_shot_classifier(
            self._model, self._tokenizer, labels, templates, num_classes_per_batch=None
        )
        return np.asarray(columns).T


def _opened(name: str, content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise ModelsError(f"{name}: open_clip's Pillow cannot read it: {error}.") from None
    return image


async def _by_parts(
    what: str, works: Iterable[T], size: int, encode: Callable[[Sequence[T]], Floats]
) -> Floats:
    """float32 [N, D]."""
    parts, waiting = [], iter(works)
    with Shown(what) as shown:
        while some := await asyncio.to_thread(lambda: list(islice(waiting, size))):
            parts.append(await asyncio.to_thread(encode, some))
            for _ in some:
                shown.advance()
    return np.concatenate(parts)
