"""Checks the vectors of encoders on a running Triton; of its rates see docs/triton.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import np_to_triton_dtype

from clipserve.clip.artifact import read_manifest
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.contract import FINGERPRINT, TOWERS, triton_model
from loadtests.gpu.encoders import Encoder, Variant, compared
from loadtests.gpu.findings import Findings
from loadtests.gpu.inputs import Case, Feeds

_PATIENCE = 60  # timeout of a call in seconds: a server that hangs is a failed line


@dataclass(frozen=True)
class Served:
    """A Triton, its variant, and its models by encoder. `url`: gRPC host:port."""

    url: str
    variant: Variant
    models: dict[str, Any]

    @property
    def name(self) -> str:
        return f"Triton {self.variant.precision}"


def found(url: str, variants: Sequence[Variant]) -> Served:
    """Find out which of these variants of a model this Triton serves.

    Raises:
        SystemExit: it serves none of them.
    """
    manifests = [read_manifest(variant.folder) for variant in variants]
    with InferenceServerClient(url) as client:
        models: dict[str, Any] = {
            tower: client.get_model_config(triton_model(manifests[0], tower)).config for tower in TOWERS
        }
    stated = {model.parameters[FINGERPRINT].string_value for model in models.values()}
    for variant, manifest in zip(variants, manifests, strict=True):
        if stated == {manifest.fingerprint()}:
            return Served(url, variant, models)
    raise SystemExit(f"Triton serves {', '.join(sorted(stated))}, and none of the artifacts")


def vectors(findings: Findings, served: Served, case: Case, sizes: Sequence[int]) -> None:
    """Check cosines with the CPU's vectors, for sizes that the model allows."""
    model = served.models[case.graph.removesuffix(".onnx")]
    with InferenceServerClient(served.url) as client:

        def compute(feeds: Feeds) -> Embeddings:
            answer = client.infer(model.name, inputs_of(feeds), client_timeout=_PATIENCE)
            return np.asarray(answer.as_numpy("embedding"), np.float32)

        encoder = Encoder(served.name, served.variant.precision, compute)
        fitting = [size for size in sizes if size <= model.max_batch_size]
        findings.add(compared(encoder, case, fitting))


def inputs_of(feeds: Feeds) -> list[Any]:
    """The inputs of a call; its `lengths` are [N, 1]."""
    inputs = []
    for name, array in feeds.items():
        rows = array[:, np.newaxis] if array.ndim == 1 else array
        inputs.append(InferInput(name, rows.shape, np_to_triton_dtype(rows.dtype)))
        inputs[-1].set_data_from_numpy(np.ascontiguousarray(rows))
    return inputs
