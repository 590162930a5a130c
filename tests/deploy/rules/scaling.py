"""How many pods there are, and who may take one away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.deploy.manifests import Object, gateways, of_kind, pods, selects, settings_of, title


def a_budget_has_one_bound(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "PodDisruptionBudget"):
        bounds = [each["spec"].get(name) for name in ("minAvailable", "maxUnavailable")]
        if bounds.count(None) != 1:
            yield f"{title(each)}: needs one of minAvailable and maxUnavailable"
        elif each["spec"].get("maxUnavailable") in (0, "0%"):
            yield f"{title(each)}: no node could ever be drained"


def several_pods_have_a_budget_and_spread(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        if each.owner["kind"] != "Deployment":
            continue
        budgets = of_kind(objects, "PodDisruptionBudget")
        if sum(selects(budget["spec"]["selector"], each.labels) for budget in budgets) != 1:
            yield f"{each.name}: needs one PodDisruptionBudget"
        spread = each.spec.get("topologySpreadConstraints", [])
        keys = {one["topologyKey"] for one in spread if selects(one["labelSelector"], each.labels)}
        if not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
            yield f"{each.name}: its own pods are not spread over hosts and zones"
        if any("pod-template-hash" not in one.get("matchLabelKeys", []) for one in spread):
            yield f"{each.name}: pods that an update replaces count, and leave the new ones uneven"


def an_autoscaler_has_room(objects: list[Object]) -> Iterator[str]:
    for each, least, most in _autoscalers(objects):
        if not 1 <= least <= most:
            yield f"{title(each)}: at least {least} and at most {most} pods"
        fallback = each["spec"].get("fallback")
        if fallback and not least <= fallback["replicas"] <= most:
            yield f"{title(each)}: falls back to {fallback['replicas']} pods"


def an_autoscaler_rules_alone(objects: list[Object]) -> Iterator[str]:
    """Its Deployment exists, has no number of its own, and no second autoscaler."""
    seen: set[str] = set()
    for each, _, _ in _autoscalers(objects):
        target = each["spec"]["scaleTargetRef"]
        name = f"{target['kind']}/{target['name']}"
        found = [one for one in objects if title(one) == name]
        if not found:
            yield f"{title(each)}: there is no {name}"
        if name in seen:
            yield f"{title(each)}: {name} has two autoscalers"
        seen.add(name)
        # Kubernetes' own autoscaler leaves a Deployment without pods alone: so a color rests. KEDA does not.
        rests = 0 if each["kind"] == "HorizontalPodAutoscaler" else None
        if any(one["spec"].get("replicas", rests) != rests for one in found):
            yield f"{title(each)}: {name} says how many pods it has, and each apply sets them back"


def cpu_is_scaled_by_a_request(objects: list[Object]) -> Iterator[str]:
    """Utilization is a share of the request; without one there is no share."""
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        for one in pods(objects):
            if one.name != f"{target['kind']}/{target['name']}":
                continue
            for metric in each["spec"]["metrics"]:
                name = metric.get("resource", {}).get("name")
                if name and any(name not in own["resources"]["requests"] for own in one.containers):
                    yield f"{title(each)}: {one.name} requests no {name}"


def keda_can_fall_back(objects: list[Object]) -> Iterator[str]:
    """KEDA's webhook refuses a fallback beside triggers on CPU or memory, or with another metric type."""
    for each in of_kind(objects, "ScaledObject"):
        if each["spec"].get("fallback", {}).get("behavior") != "currentReplicasIfHigher":
            yield f"{title(each)}: without metrics it may take pods away"
        for trigger in each["spec"]["triggers"]:
            if trigger["type"] in ("cpu", "memory") or trigger.get("metricType") != "AverageValue":
                yield f"{title(each)}: a fallback does not go with the trigger {trigger.get('name')}"
            metadata = trigger["metadata"]
            # Else a query that finds no series counts as zero, and the pods are taken away.
            if metadata.get("ignoreNullValues") != "false":
                yield f"{title(each)}: {trigger.get('name')} takes missing metrics for zero"
            if not all(isinstance(value, str) for value in metadata.values()):
                yield f"{title(each)}: a value in the metadata of {trigger.get('name')} is not a string"


def keda_is_told_nothing_that_it_ignores(objects: list[Object]) -> Iterator[str]:
    """Its webhook warns: only an autoscaler that may rest at 0 pods polls by itself."""
    for each in of_kind(objects, "ScaledObject"):
        spec = each["spec"]
        if spec.get("minReplicaCount", 0) and spec.keys() & {"pollingInterval", "cooldownPeriod"}:
            yield f"{title(each)}: says how KEDA polls, and never has 0 pods"


def keda_scales_encoders_in_process(objects: list[Object]) -> Iterator[str]:
    """With Triton there are no workers to be busy, and it would always fall back."""
    targets = [each["spec"]["scaleTargetRef"]["name"] for each in of_kind(objects, "ScaledObject")]
    for each, container in gateways(objects):
        backend = settings_of(container, objects).get("CLIPSERVE_BACKEND")
        if backend == "triton" and each.owner["metadata"]["name"] in targets:
            yield f"{each.name}: has its encoders on Triton, scale it by CPU"


def keda_asks_for_the_pods_that_it_scales(objects: list[Object]) -> Iterator[str]:
    """Of its namespace and of its Deployment's color, by metrics that Prometheus records."""
    labels = {title(each.owner): each.labels for each in pods(objects)}
    for each in of_kind(objects, "ScaledObject"):
        color = labels.get(f"Deployment/{each['spec']['scaleTargetRef']['name']}", {}).get(
            "clipserve/color", ""
        )
        chosen = f'{{namespace="{each["metadata"]["namespace"]}",clipserve_color="{color}"}}'
        for trigger in each["spec"]["triggers"]:
            wanted = f"max(namespace_color:clipserve_pods:{trigger['name']}{chosen})"
            if trigger["name"] == "pending":  # Triton's own
                wanted = f"sum(avg_over_time(nv_inference_pending_request_count{chosen}[2m]))"
            if trigger["metadata"]["query"] != wanted:
                yield f"{title(each)}: {trigger['name']} is not {wanted}"


def _autoscalers(objects: list[Object]) -> Iterator[tuple[Object, int, int]]:
    """With the least and the most pods; defaults are those of Kubernetes and KEDA."""
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        spec: dict[str, Any] = each["spec"]
        yield each, spec.get("minReplicas", 1), spec["maxReplicas"]
    for each in of_kind(objects, "ScaledObject"):
        yield each, each["spec"].get("minReplicaCount", 0), each["spec"].get("maxReplicaCount", 100)
