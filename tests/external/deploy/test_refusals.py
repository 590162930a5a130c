"""Values that are none, or that could not work together, are refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.manifests import TOOLS, run
from tools.renderings import CHART, render

_PLANS = {"enabled": True, "gpuProduct": "NVIDIA-L4"}
_QUEUE = {"enabled": True, "metric": "queue"}
_ONE_NODE = {"path": "vit", "accessModes": ["ReadWriteOnce"]}
_IMAGE = {"reference": "registry/model@sha256:" + "0" * 64}

# What is wrong -> the values, and words of the sentence.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt value": ({"gateway": {"replica": 3}}, "'replica' not allowed"),
    "a color that there is not": ({"served": "red"}, '"red" is to be served'),
    "a setting of another program": ({"settings": {"MAX": 1}}, "CLIPSERVE_"),
    "an open load balancer": ({"edge": {"type": "loadBalancer"}}, "without keys.secret"),
    "no host": ({"edge": {"type": "ingress", "host": ""}}, "without edge.host"),
    "no class": ({"edge": {"type": "gateway"}}, "kubectl get gatewayclass"),
    "TLS twice": (
        {"grpcTlsSecret": "tls", "edge": {"type": "gateway", "className": "eg"}},
        "grpcTlsSecret and",
    ),
    "plans for no GPU": ({"triton": {"enabled": True, "tensorrt": {"enabled": True}}}, "gpuProduct"),
    "plans without Triton": ({"triton": {"tensorrt": _PLANS}}, "without triton.enabled"),
    "plans of a repository": (
        {"triton": {"enabled": True, "repository": "s3://a/b", "tensorrt": _PLANS}},
        "has its plans already",
    ),
    "a queue that nobody measures": ({"gateway": {"autoscaling": _QUEUE}}, "without monitoring.enabled"),
    "calls that nobody counts": (
        {"triton": {"enabled": True, "autoscaling": {"enabled": True}}},
        "without monitoring.enabled",
    ),
    "more than the most": (
        {"gateway": {"replicas": 30, "autoscaling": {"enabled": True}}},
        "is 30, and max 20",
    ),
    "no pod can be replaced": (
        {"gateway": {"strategy": {"maxSurge": 0, "maxUnavailable": "0%"}}},
        "are both 0",
    ),
    "two models": ({"modelImage": _IMAGE, "modelVolume": {"path": "vit"}}, "only one of them"),
    "nothing to copy": ({"modelVolume": {"fill": True}}, "without modelVolume.path"),
    "one node's volume for two colors": (
        {"modelVolume": _ONE_NODE, "colors": {"blue": {}, "green": {}}},
        "which only one node may mount",
    ),
    "a Redis that is not used": ({"redis": {"external": True}}, "without redis.enabled"),
}


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_with_a_sentence(
    values: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        render(values, tmp_path)


def test_a_cluster_that_mounts_no_images_is_told_so() -> None:
    given = f"--set=modelImage.reference={_IMAGE['reference']}"
    helm = (TOOLS / "bin" / "helm", "template", "clipserve", CHART, given)
    run(*helm, "--kube-version=1.35.0")
    with pytest.raises(AssertionError, match=r"modelImage needs Kubernetes 1\.35.*has v1\.34"):
        run(*helm, "--kube-version=1.34.2")
