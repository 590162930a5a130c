"""What the chart makes of values: the renderings that all rules are tried on.

`python -m tools.renderings` writes deploy/k8s/clipserve.yaml (`make rendered`). With a FOLDER it puts a
file of each there, without the objects of operators (`make cluster`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tools.manifests import CUSTOM, ROOT, TOOLS, Object, parsed, run

CHART = ROOT / "deploy" / "chart"
RENDERED = ROOT / "deploy" / "k8s" / "clipserve.yaml"

Values = dict[str, Any]

_TRITON: Values = {"triton": {"enabled": True}}
_PLANS: Values = {"enabled": True, "gpuProduct": "NVIDIA-L4"}
_OWN_GPU: Values = {
    "settings": {"CLIPSERVE_DEVICE": "cuda"},
    "image": {"tag": "0.1.0-gpu"},
    "gateway": {
        "resources": {
            "requests": {"cpu": "4", "memory": "6G", "nvidia.com/gpu": "1"},
            "limits": {"memory": "6G", "nvidia.com/gpu": "1"},
        },
        "strategy": {"maxSurge": 0, "maxUnavailable": 1},
        "startSeconds": 600,
    },
}

# Name -> values. Together they have every object and every branch of the templates.
RENDERINGS: dict[str, Values] = {
    "cpu": {},
    "hub": {"model": "openai/clip-vit-base-patch32", "hubTokenSecret": "hub"},
    "own volume": {"modelVolume": {"path": "vit", "fill": True}},
    "own image": {"modelImage": {"reference": "registry/model@sha256:" + "0" * 64}},
    "two colors": {"colors": {"blue": {}, "green": {"model": "google/siglip2-base-patch16-224"}}},
    "keys, redis and a load balancer": {
        "keys": {"secret": "clipserve-keys"},
        "redis": {"enabled": True},
        "edge": {"type": "loadBalancer"},
    },
    "gRPC with TLS": {
        "keys": {"secret": "clipserve-keys"},
        "grpcTlsSecret": "tls",
        "edge": {"type": "loadBalancer"},
    },
    "ingress": {"edge": {"type": "ingress", "className": "traefik"}},
    "gateway": {"edge": {"type": "gateway", "className": "eg"}},
    "by cpu": {"gateway": {"autoscaling": {"enabled": True}}},
    "by queue": {
        "gateway": {"autoscaling": {"enabled": True, "metric": "queue"}},
        "monitoring": {"enabled": True},
    },
    "triton": _TRITON,
    "everything": {
        "model": "openai/clip-vit-base-patch32",
        "keys": {"secret": "clipserve-keys"},
        "gateway": {"autoscaling": {"enabled": True, "metric": "queue"}},
        "triton": {"enabled": True, "autoscaling": {"enabled": True}, "tensorrt": _PLANS},
        "colors": {"blue": {}, "green": {"model": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"}},
        "edge": {"type": "gateway", "className": "eg"},
        "redis": {"enabled": True},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
        "settings": {"CLIPSERVE_IMAGE_HOSTS": "photos.example.com"},
    },
    "plans on slices": {
        "triton": {
            "enabled": True,
            "gpu": "nvidia.com/mig-1g.10gb",
            "tensorrt": _PLANS | {"gpuLabel": "nvidia.com/mig-1g.10gb.product"},
        }
    },
    "object storage": {
        "triton": {
            "enabled": True,
            "repository": "s3://bucket/repository",
            "envFrom": [{"secretRef": {"name": "storage"}}],
        }
    },
    "a GPU in each gateway": _OWN_GPU,
    "openshift": _TRITON
    | {"podSecurityContext": None, "networkPolicy": {"dnsPorts": [53, 5353]}, "redis": {"enabled": True}},
}


_HEAD = """\
# Made by `make rendered` from deploy/chart, for those without Helm: gateways on the CPU, with the demo model.
#   kubectl apply --server-side -f clipserve.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: clipserve
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""


def rendered() -> str:
    """The text of deploy/k8s/clipserve.yaml."""
    options = ("--namespace", "clipserve", "--skip-tests")
    return _HEAD + run(TOOLS / "bin" / "helm", "template", "clipserve", CHART, *options)


def render(values: Values, scratch: Path, release: str = "clipserve", chart: Path = CHART) -> list[Object]:
    """The objects of a release, its hooks too.

    Raises:
        AssertionError: the chart refuses the values; the message is Helm's.
    """
    file = scratch / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = ("template", release, chart, "--namespace", "clipserve", "--values", file)
    return parsed(run(TOOLS / "bin" / "helm", *command))


def write_all(folder: Path) -> None:
    """Without `helm test`'s pod too, which a cluster refuses before its account is there."""
    for name, values in RENDERINGS.items():
        known = [each for each in render(values, folder.parent) if each["kind"] not in (*CUSTOM, "Pod")]
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(known))


if __name__ == "__main__":
    if sys.argv[1:]:
        write_all(Path(sys.argv[1]))
    else:
        RENDERED.write_text(rendered())
