"""Label sets with trained weights: a linear classifier of one model's vectors, in place of prompts and examples."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clipserve.api.label_sets import MAX_WEIGHT, LabelFields, LabelSetFields
from clipserve.application.label_sets.definition import Definition
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.zeroshot import FloatArray, ZeroShotClassifier, linear_classifier
from clipserve.errors import InvalidInput, LabelSetFailed

_EXCLUDED = ("templates", "background", "truncate")
_EXCLUDED_OF_LABEL = ("prompts", "examples")


def check_trained(fields: LabelSetFields, labels: Sequence[LabelFields], manifest: ModelManifest) -> None:
    """Check `weights` and `biases`, if there are any. `labels`: those of the set.

    Raises:
        InvalidInput: one is malformed, or stands beside what it excludes.
    """
    if fields.weights is None:
        if fields.biases:
            raise InvalidInput("biases belong to weights: give weights too, or leave biases out.")
        return
    if not fields.expect_fingerprint:
        raise InvalidInput(
            "weights are of one model, and mean nothing for another: give its fingerprint, expect_fingerprint."
        )
    _check_alone(fields, labels)
    if len(fields.biases) not in (0, len(labels)):
        raise InvalidInput(
            f"there are {len(fields.biases):,} biases for {len(labels):,} labels: give one for each, or none.",
            limit=len(labels),
            actual=len(fields.biases),
        )
    _check_numbers("a weight", _matrix(fields.weights, len(labels), manifest))
    _check_numbers("the bias", np.reshape(fields.biases, (-1, 1)))


def no_cosines(what: str) -> InvalidInput:
    """The error of a request for cosines as scores, by which no classifier is trained. `what`: has the weights."""
    return InvalidInput(f"{what} has trained weights, and its score is no cosine: take softmax or sigmoid.")


def of_other_model(definition: Definition, fingerprint: str) -> LabelSetFailed:
    """The error of a set with weights beside a model of another fingerprint, that of the model given here."""
    return LabelSetFailed(
        f"its weights were trained for {definition.expect_fingerprint}, and {fingerprint} is served: train them "
        "again and put the set again, or serve the former model."
    )


def matrix_of(definition: Definition) -> FloatArray:
    """The weights, float32 [K, D]. Raises ValueError: what is stored is damaged."""
    weights = binascii.a2b_base64(definition.weights or "")
    return np.frombuffer(weights, "<f4").reshape(len(definition.labels), -1)


def trained_classifier(definition: Definition) -> ZeroShotClassifier:
    """The classifier of a definition with weights. Raises ValueError: what is stored of it is damaged."""
    biases = np.array(definition.biases or [0.0] * len(definition.labels), np.float32)
    return linear_classifier(definition.names, matrix_of(definition), biases)


def _check_alone(fields: LabelSetFields, labels: Sequence[LabelFields]) -> None:
    """Raises InvalidInput: the set has what weights leave without a meaning."""
    if fields.scoring == "cosine":
        raise no_cosines("the set")
    for name in _EXCLUDED:
        if getattr(fields, name):
            raise InvalidInput(f"a set has weights or {name}, and not both: leave out one of them.")
    for index, label in enumerate(labels):
        for name in _EXCLUDED_OF_LABEL:
            if getattr(label, name):
                raise InvalidInput(
                    f"label {index} has {name}, and the set has weights: leave out one of them.", index=index
                )


def _matrix(weights: str, labels: int, manifest: ModelManifest) -> FloatArray:
    """The weights, float32 [labels, D]. Raises InvalidInput: they are too few or too many, or no base64."""
    dim = manifest.embed_dim
    wanted = 4 * labels * dim
    if (size := len(weights) // 4 * 3 - weights[-2:].count("=")) != wanted:  # before any is decoded
        raise InvalidInput(
            f"weights has {size:,} bytes, and {labels:,} labels of {manifest.name} need {wanted:,}: base64 of "
            f"float32, little-endian, {dim:,} numbers for each label.",
            limit=wanted,
            actual=size,
        )
    try:
        return np.frombuffer(binascii.a2b_base64(weights, strict_mode=True), "<f4").reshape(labels, dim)
    except ValueError:
        raise InvalidInput("weights is not valid base64.") from None


def _check_numbers(what: str, numbers: npt.NDArray[np.floating]) -> None:
    """Raises InvalidInput: one of them, [K, n], is too large or no number."""
    for label, place in np.argwhere(~(np.abs(numbers) <= MAX_WEIGHT))[:1].tolist():
        value = float(numbers[label, place])
        raise InvalidInput(
            f"{what} of label {label} is {value:g}; it must be from {-MAX_WEIGHT:,.0f} to {MAX_WEIGHT:,.0f}.",
            limit=MAX_WEIGHT,
            actual=value,
            index=label,
        )
