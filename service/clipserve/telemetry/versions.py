"""Versions of the libraries that may change a vector's last digits. A fingerprint does not contain them."""

from __future__ import annotations

import functools
from importlib.metadata import distributions

from PIL import features
from prometheus_client import CollectorRegistry, Gauge

from clipserve import __version__


@functools.cache
def vector_libraries() -> dict[str, str]:
    """The decoders, the tokenizer and the engines: name -> version, empty where it is not installed."""
    return {
        "pillow": _installed("pillow"),
        "libjpeg_turbo": features.version_feature("libjpeg_turbo") or "",
        "libwebp": features.version_module("webp") or "",
        "tokenizers": _installed("tokenizers"),
        "onnxruntime": _installed("onnxruntime") or _installed("onnxruntime-gpu"),
        "openvino": _installed("openvino"),
    }


def tell_versions(registry: CollectorRegistry) -> None:
    """The gauge of these versions and the service's own."""
    versions = {"version": __version__, **vector_libraries()}
    said = "Always 1: the version that runs, and those of libraries that may change a vector's last digits."
    Gauge("clipserve_build_info", said, versions, registry=registry).labels(**versions).set(1)


def _installed(package: str) -> str:
    return next((found.version for found in distributions(name=package)), "")
