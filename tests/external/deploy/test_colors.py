"""One color becomes two, and the switch, where README.md does not walk: with Triton, and with autoscalers."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.manifests import K8S, title
from tests.external.deploy.test_walks import README, page, walk

_WITH_TRITON = (K8S / "overlays/blue-green-gpu/README.md").read_text()
_CPU_SCALED = (K8S / "components/autoscaling-cpu/README.md").read_text()
(_PATHS,) = re.findall(r"^sed -i s,.*$", README, re.MULTILINE)
(_SWITCH,) = re.findall(r"^kustomize edit add patch --kind Service .*$", README, re.MULTILINE)
_SWITCHED = "# changed: Service/clipserve, Service/clipserve-pods"
_BEGIN = ("mkdir installation", "cp -R deploy/k8s installation", "cd installation")


def test_two_colors_with_triton_follow_one_without_a_pod_of_two_budgets(tmp_path: Path) -> None:
    cluster = walk(page(*_to_colors_with_triton()), tmp_path)
    left = sorted(name for name in cluster.objects if name.startswith(("Deployment", "PodDis", "Service/")))
    assert left == [
        "Deployment/clipserve-blue",
        "Deployment/triton-blue",
        "PodDisruptionBudget/clipserve-blue",
        "PodDisruptionBudget/triton-blue",
        "Service/clipserve",
        "Service/clipserve-pods",
        "Service/triton-blue",
    ]


def test_a_color_with_an_autoscaler_gets_the_others_minimum_before_the_switch(tmp_path: Path) -> None:
    (raised,) = re.findall(r"^ {4}(kustomize edit add patch .*minReplicas.*)$", _CPU_SCALED, re.MULTILINE)
    cluster = walk(page(*_two_scaled_colors(raised)), tmp_path)
    assert {title(each) for each in cluster.objects.values()} >= {"HorizontalPodAutoscaler/clipserve-green"}


def _to_colors_with_triton() -> list[str]:
    (budgets,) = re.findall(r"`(kubectl -n clipserve delete pdb/\S+ pdb/\S+)`", _WITH_TRITON)
    old = re.findall(r"`((?:deployment|service|networkpolicy)/[a-z-]+)`", _WITH_TRITON)
    new = "ConfigMap/clipserve-blue-*, ConfigMap/model-blue-*, Deployment/clipserve-blue, Deployment/triton-blue, "
    new += "NetworkPolicy/gateway-to-triton-blue, NetworkPolicy/triton-blue, "
    new += "PodDisruptionBudget/clipserve-blue, PodDisruptionBudget/triton-blue, Service/triton-blue"
    return [
        *_BEGIN,
        "kustomize create --namespace clipserve --resources k8s/overlays/gpu",
        "kubectl apply --server-side -k . # new: everything",
        *_ready("clipserve", "triton"),
        "cp -R k8s/overlays/blue-green-gpu/blue k8s/overlays/blue-green-gpu/green .",
        _PATHS,
        "sed -i s,overlays/gpu,base/colors, kustomization.yaml",
        "kustomize edit add resource blue green",
        _SWITCH,
        budgets,
        f"kubectl apply --server-side -k . -l clipserve/color=blue # new: {new}",
        *_ready("triton-blue", "clipserve-blue"),
        f"kubectl apply --server-side -k . -l '!clipserve/color' {_SWITCHED}",
        f"kubectl -n clipserve delete deployment/clipserve {' '.join(old)}",
    ]


def _two_scaled_colors(in_green: str) -> list[str]:
    add = "kustomize edit add component ../k8s/components/autoscaling-cpu"
    least = "kustomize edit add patch --kind HorizontalPodAutoscaler --patch "
    return [
        *_BEGIN,
        "cp -R k8s/overlays/blue-green/blue k8s/overlays/blue-green/green .",
        _PATHS,
        "kustomize create --namespace clipserve --resources k8s/base/colors,blue,green",
        _SWITCH,
        *("cd blue", add, f"{least}'- {{op: replace, path: /spec/minReplicas, value: 6}}'"),
        *("cd ../green", add, in_green, "cd .."),
        "kubectl apply --server-side -k . # new: everything",
        *_ready("clipserve-blue", "clipserve-green"),
        "sed -i 's/value: blue/value: green/' kustomization.yaml",
        f"kubectl apply --server-side -k . {_SWITCHED}",
    ]


def _ready(*deployments: str) -> list[str]:
    return [f"kubectl -n clipserve rollout status deployment/{name}" for name in deployments]
