"""A traced image encoder in half precision, from its checkpoint in PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from clipserve.clip.artifact import IMAGE_GRAPH
from clipserve.clip.reference import lowest_cosine, reference_pixels
from clipserve_models import checkpoint
from clipserve_models.errors import ModelsError
from clipserve_models.traced import HALF, trace_image
from clipserve_models.variants.job import Job
from clipserve_models.verify import MIN_COSINE


def check(job: Job, *, text: bool) -> None:
    """Raises ModelsError: the checkpoint is missing; or `text`, the traced text encoder is to be converted too."""
    checkpoint.check_origin(job.manifest, job.weights)
    if text:
        raise ModelsError(
            f"the text encoder of {job.manifest.source.model} masks padding with values that fp16 does not have: "
            "give --no-text, which keeps it in fp32."
        )


def write_image(job: Job) -> None:
    """Write the image graph. Raises ModelsError: the checkpoint does not give the artifact's reference vectors."""
    manifest = job.manifest
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job.say(f"loading {manifest.source.checkpoint}")
        model = checkpoint.load_again(manifest, job.weights)
        _check_vectors(model, job)
        trace_image(model, manifest.image.size, job.target / IMAGE_GRAPH, manifest.embed_dim, HALF)


def _check_vectors(model: Any, job: Job) -> None:
    manifest = job.manifest
    pixels = checkpoint.normalized(model, reference_pixels(manifest.image.size))
    stored = np.asarray(manifest.reference.image_embeddings, np.float32)
    cosine = lowest_cosine(np.asarray(model.encode_image(pixels)), stored)
    if not cosine >= MIN_COSINE:
        raise ModelsError(
            f"the weights that were loaded ({manifest.source.checkpoint}) are not those of {manifest.name}: for "
            f"{IMAGE_GRAPH} they give vectors at cosine {cosine:.6f} to the artifact's, below {MIN_COSINE}. Export "
            "the artifact again, or give its own weights with --weights FILE."
        )
