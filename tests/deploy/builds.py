"""Overlays and components as users join them, built by kustomize."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.manifests import K8S, run

OVERLAYS = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))
COMPONENTS = sorted(path.parent.name for path in (K8S / "components").glob("*/kustomization.yaml"))
COLORS = ("blue", "green")


@dataclass(frozen=True)
class Build:
    """One installation: an overlay, and the components that are written into the operator's kustomizations."""

    overlay: str
    outside: tuple[str, ...] = ()  # into the one around the overlay, as README.md has it
    colors: tuple[str, ...] = ()  # into that of each color
    resources: tuple[str, ...] = ()  # of the one around it, below deploy/k8s
    settings: tuple[tuple[str, Any], ...] = ()  # fields of the one around it


# Of plans of TensorRT, as the page of the component has it.
KEY = {"GPU": "NVIDIA-H100-80GB-HBM3", "TENSORRT": "26.05", "MODEL": "demo"}
_PLANS = {
    "name": "plans-key",
    "literals": [f"{name}={value}" for name, value in KEY.items()],
    "options": {"disableNameSuffixHash": True},
}
_EDGES = ("keys", "redis", "monitoring", "image-hosts", "edge-ingress", "edge-loadbalancer")
NEEDS = {"edge-loadbalancer": ("keys",)}  # the components that must stand before it
# For the overlay gpu alone.
OF_TRITON = {"autoscaling-triton", "mig", "object-storage", "one-pod", "tensorrt"}


def overlay_of(component: str) -> str:
    """The overlay that a component is tried with."""
    return "gpu" if component in OF_TRITON else "cpu"


# Each overlay, each component with and without Triton, inside and around, in each color, and all that go together.
BUILDS: dict[str, Build] = {
    **{name: Build(name) for name in OVERLAYS},
    **{
        f"{overlay_of(part)}+{part}": Build(overlay_of(part), (*NEEDS.get(part, ()), part))
        for part in COMPONENTS
        if part != "tensorrt"  # needs a key
    },
    "gpu-in-process around": Build("gpu-in-process", ("mig", "monitoring", "autoscaling", "nvidia-runtime")),
    "gpu one-pod around": Build("gpu", ("monitoring", "model-pvc", "mig", "one-pod", "nvidia-runtime")),
    "gpu around": Build("gpu", outside=(*_EDGES, "autoscaling-cpu", "autoscaling-triton", "model-pvc")),
    "cpu around": Build(
        "cpu",
        outside=(*_EDGES, "autoscaling", "model-pvc"),
        resources=("components/model-pvc/fill", "components/model-pvc/download"),
    ),
    "gpu on openshift": Build("gpu", outside=("redis", "openshift")),
    "cpu with tls": Build("cpu", outside=("keys", "edge-loadbalancer", "grpc-tls")),
    "cpu on openshift": Build(
        "cpu", outside=("model-pvc", "openshift"), resources=("components/model-pvc/download",)
    ),
    "cpu elsewhere": Build(
        "cpu",
        outside=("monitoring", "autoscaling"),
        settings=(
            ("namespace", "elsewhere"),
            ("transformers", ["k8s/components/autoscaling/namespace"]),
        ),
    ),
    "blue-green elsewhere": Build(
        "blue-green",
        outside=("monitoring",),
        colors=("autoscaling",),
        settings=(
            ("namespace", "elsewhere"),
            ("transformers", ["k8s/components/autoscaling/namespace"]),
        ),
    ),
    "blue-green+many": Build("blue-green", _EDGES),
    "blue-green around": Build("blue-green", colors=("autoscaling", "model-image-volume"), outside=_EDGES),
    "blue-green+autoscaling-cpu": Build("blue-green", _EDGES, ("autoscaling-cpu", "model-pvc")),
    "blue-green-gpu around": Build("blue-green-gpu", colors=("autoscaling-cpu", "model-pvc"), outside=_EDGES),
    "gpu-tensorrt": Build(
        "gpu",
        ("tensorrt",),
        resources=("components/tensorrt/plans",),
        settings=(("configMapGenerator", [_PLANS]),),
    ),
    "gpu-tensorrt+mig": Build(
        "gpu",
        ("tensorrt", "mig"),
        resources=("components/tensorrt/plans",),
        settings=(("configMapGenerator", [_PLANS]),),
    ),
    "gpu-tensorrt+many": Build(
        "gpu",
        (
            "tensorrt",
            "keys",
            "redis",
            "monitoring",
            "autoscaling-cpu",
            "autoscaling-triton",
            "edge-loadbalancer",
            "edge-gateway",
            "model-image-volume",
            "nvidia-runtime",
        ),
        resources=("components/tensorrt/plans", "components/edge-gateway/envoy-gateway"),
        settings=(("configMapGenerator", [_PLANS]),),
    ),
}
# The builds that have every object of all others.
LARGEST = [
    "gpu+object-storage",
    "cpu around",
    "blue-green around",
    "blue-green-gpu around",
    "gpu-tensorrt+many",
]


def build(one: Build, k8s: Path, scratch: Path) -> str:
    """As YAML. `k8s`: a copy of deploy/k8s, which stays as it is; `scratch`: an empty folder for what is joined."""
    if one == Build(one.overlay):
        return run("kustomize", "build", k8s / "overlays" / one.overlay)
    copied = shutil.copytree(k8s, scratch / "k8s")
    resources = [f"k8s/overlays/{one.overlay}"]
    if one.overlay.startswith("blue-green"):
        resources = ["k8s/base/colors", *COLORS]
        for color in COLORS:
            take_color(copied / "overlays" / one.overlay / color, scratch / color, one.colors)
    kustomization: dict[str, Any] = {"namespace": "clipserve"}
    kustomization["resources"] = [*resources, *(f"k8s/{each}" for each in one.resources)]
    kustomization["components"] = [f"k8s/components/{part}" for part in one.outside]
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump(kustomization | dict(one.settings)))
    return run("kustomize", "build", scratch)


def take_color(there: Path, here: Path, parts: tuple[str, ...]) -> None:
    """The kustomization of a color, out of the product, with components."""
    here.mkdir()
    text = (there / "kustomization.yaml").read_text().replace("../../..", "../k8s")
    listed = {"components": [f"../k8s/components/{part}" for part in parts]}
    (here / "kustomization.yaml").write_text(yaml.safe_dump(yaml.safe_load(text) | listed))
