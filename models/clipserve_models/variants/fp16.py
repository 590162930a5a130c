"""Writes fp16 variants of traced artifacts from PyTorch, not from the fp32 graphs.

A converter of graphs adds casts around every operator that it does not know. So the checkpoint is loaded again,
verified to be the artifact's, and exported in half precision, after a survey of the values of the fp32 graphs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import open_clip
import torch

from clipserve.clip import reference
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models import checkpoint
from clipserve_models.errors import ModelsError
from clipserve_models.half import HALF, fold_batch_norms, halve
from clipserve_models.simplified import reparameterize, simplify
from clipserve_models.towers import text_encoder
from clipserve_models.tracing import trace_image, trace_text
from clipserve_models.variants.job import GRAPHS, Job, Largest
from clipserve_models.variants.survey import survey_all
from clipserve_models.verify import MIN_COSINE


def write_fp16(job: Job) -> Largest:
    """Write the graphs of `job.towers` in half precision, exported from the checkpoint.

    Raises:
        ModelsError: the text encoder must stay fp32, a value of the fp32 graphs is too large, the checkpoint is
            missing or not the artifact's, or a graph does not have its weights.
    """
    checkpoint.check_origin(job.manifest, job.weights)  # before the survey, which is slow
    if "text" in job.towers:
        _refuse_masks(job.manifest.source.model or "")
    largest = survey_all(job)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job.say(f"loading {job.manifest.source.checkpoint}")
        model = checkpoint.load_again(job.manifest, job.weights)
        size = job.manifest.image.size
        reparameterize(model)
        fold_batch_norms(model.visual, torch.zeros(1, 3, size, size))
        _check_origin(model, job)
        halve(model)
        texts = text_encoder(model, HALF).eval() if "text" in job.towers else None
        simplify(model)
        for tower in job.towers:
            job.say(f"exporting {GRAPHS[tower]} in half precision")
            path = job.target / GRAPHS[tower]
            if texts and tower == "text":
                trace_text(texts, job.manifest.text, path)
            else:
                trace_image(model, size, path, HALF)
    return largest


def _refuse_masks(model: str) -> None:
    """Raises ModelsError if the model's text encoder is a `WholeTextEncoder`, whose masks do not fit fp16."""
    text = open_clip.get_model_config(model)["text_cfg"]
    if "hf_model_name" in text or text.get("embed_cls"):
        raise ModelsError(
            f"the text encoder of {model} masks padding with values that fp16 does not have: give --no-text, which "
            "keeps it in fp32."
        )


def _check_origin(model: Any, job: Job) -> None:
    """Raises ModelsError if the model does not give the artifact's reference vectors."""
    manifest = job.manifest
    pixels = checkpoint.normalized(model, reference.reference_pixels(manifest.image.size))
    tokenizer = load_tokenizer(job.source, manifest.text)
    rows = tokenizer.encode(reference.REFERENCE_TEXTS, truncate=True)
    ids, _ = tokenizer.pad(rows, manifest.text.context_length)
    for graph, own, stored in (
        (IMAGE_GRAPH, model.encode_image(pixels), manifest.reference.image_embeddings),
        (TEXT_GRAPH, model.encode_text(torch.from_numpy(ids).long()), manifest.reference.text_embeddings),
    ):
        cosine = reference.lowest_cosine(np.asarray(own), np.asarray(stored, np.float32))
        if not cosine >= MIN_COSINE:
            raise ModelsError(
                f"the weights that were loaded ({manifest.source.checkpoint}) are not those of {manifest.name}: "
                f"for {graph} they give vectors at cosine {cosine:.6f} to the artifact's, below {MIN_COSINE}. "
                "Export the artifact again, or give its own weights with --weights FILE."
            )
