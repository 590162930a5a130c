"""Rules that schemas do not know hold in every rendering: what a cluster would refuse, or an operator would regret.

Each takes the objects of a release and yields what is wrong with them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from clipserve.settings import Settings
from tools.manifests import (
    Object,
    config_maps_of,
    gateways,
    of_kind,
    pods,
    quantity,
    selects,
    settings_of,
    title,
)

Rule = Callable[[list[Object]], Iterator[str]]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    RULES.append(check)
    return check


def _selecting(objects: list[Object], kind: str, field: str, labels: dict[str, str]) -> list[Object]:
    """Those of this kind whose selector in `field` takes pods with these labels."""
    return [each for each in of_kind(objects, kind) if selects(each["spec"][field], labels)]


@rule
def settings_exist(objects: list[Object]) -> Iterator[str]:
    known = {f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields}
    for each, container in gateways(objects):
        names = settings_of(container, objects).keys() | {one["name"] for one in container.get("env", [])}
        yield from (
            f"{each.name}: {name}" for name in names if name.startswith("CLIPSERVE_") and name not in known
        )


@rule
def a_service_leads_to_one_workload(objects: list[Object]) -> Iterator[str]:
    for service in of_kind(objects, "Service"):
        found = [each.name for each in pods(objects) if selects(service["spec"]["selector"], each.labels)]
        if len(found) != 1:
            yield f"{title(service)}: {found}"


@rule
def named_ports_exist(objects: list[Object]) -> Iterator[str]:
    for service in of_kind(objects, "Service"):
        for each in pods(objects):
            if selects(service["spec"]["selector"], each.labels):
                offered = {port["name"] for one in each.containers for port in one.get("ports", [])}
                yield from (
                    title(service) for port in service["spec"]["ports"] if port["targetPort"] not in offered
                )


@rule
def an_owner_selects_its_own_pods_alone(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        if each.owner["kind"] != "Job" and each.owner["spec"]["selector"]["matchLabels"] != each.labels:
            yield each.name


@rule
def what_pods_refer_to_exists(objects: list[Object]) -> Iterator[str]:
    present = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")}
    for each in pods(objects):
        volumes = {volume["name"] for volume in each.spec.get("volumes", [])}
        volumes |= {one["metadata"]["name"] for one in each.owner["spec"].get("volumeClaimTemplates", [])}
        for container in each.all_containers:
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            yield from (f"{each.name}: volume {name}" for name in mounts - volumes)
            yield from (f"{each.name}: {need}" for need in config_maps_of(container) - present)


@rule
def objects_are_unique(objects: list[Object]) -> Iterator[str]:
    yield from (name for name, number in Counter(map(title, objects)).items() if number > 1)


@rule
def the_grace_period_covers_the_end(objects: list[Object]) -> Iterator[str]:
    """A preStop that sleeps longer is refused by the API server; a drain that takes longer is killed."""
    for each in pods(objects):
        grace = each.spec.get("terminationGracePeriodSeconds", 30)
        for container in each.containers:
            stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0, 0])
            settings = settings_of(container, objects)
            drains = [float(value) for name, value in settings.items() if "DRAIN" in name]
            exits = [
                float(one.split("=")[1]) for one in container.get("args", []) if "exit-timeout" in str(one)
            ]
            if float(stop[1]) + sum(drains) + sum(exits) + 3 > grace:
                yield each.name


@rule
def every_server_has_all_probes_and_a_gateway_on_its_operations_port(objects: list[Object]) -> Iterator[str]:
    """Idle connections fill the port of clients, and a probe there restarts a healthy pod."""
    for each in pods(objects):
        for container in each.containers if each.owner["kind"] != "Job" else ():
            probes = [container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")]
            ports = {probe["httpGet"]["port"] for probe in probes if probe and "httpGet" in probe}
            if None in probes or (container["name"] == "clipserve" and ports != {"operations"}):
                yield f"{each.name}: {container['name']}"


@rule
def what_is_not_named_is_denied(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        policies = _selecting(objects, "NetworkPolicy", "podSelector", each.labels)
        if all(one["spec"].get("ingress") or one["spec"].get("egress") for one in policies):
            yield each.name


@rule
def inner_servers_are_for_gateways_alone(objects: list[Object]) -> Iterator[str]:
    """Of the same color, where there are two."""
    for each in pods(objects):
        if each.labels["app.kubernetes.io/component"] not in ("triton", "redis"):
            continue
        color = {key: each.labels[key] for key in ("clipserve/color",) if key in each.labels}
        gateway = color | {"app.kubernetes.io/component": "gateway"}
        everybody: list[Object] = [{"podSelector": {"matchLabels": {}}}]
        for policy in _selecting(objects, "NetworkPolicy", "podSelector", each.labels):
            scraped = policy["metadata"]["name"].endswith("-metrics")
            entries = [] if scraped else policy["spec"].get("ingress") or []
            peers = [one["podSelector"] for entry in entries for one in entry.get("from") or everybody]
            if not all(gateway.items() <= peer["matchLabels"].items() for peer in peers):
                yield title(policy)


@rule
def gateways_reach_name_servers(objects: list[Object]) -> Iterator[str]:
    for each, _ in gateways(objects):
        policies = _selecting(objects, "NetworkPolicy", "podSelector", each.labels)
        entries = [entry for one in policies for entry in one["spec"].get("egress") or []]
        if 53 not in {port["port"] for one in entries if not one.get("to") for port in one["ports"]}:
            yield each.name


@rule
def everything_asks_for_cpu_and_memory_and_gpus_are_limited(objects: list[Object]) -> Iterator[str]:
    """The API server wants the limit of a GPU, equal to the request."""
    for each in pods(objects):
        for container in each.all_containers:
            limits, requests = (container["resources"].get(kind, {}) for kind in ("limits", "requests"))
            extended = [name for name in limits.keys() | requests.keys() if "/" in name]
            if not {"cpu", "memory"} <= requests.keys() or "memory" not in limits:
                yield f"{each.name}: {container['name']}"
            elif quantity(requests["memory"]) > quantity(limits["memory"]):
                yield f"{each.name}: {container['name']} asks for more than its limit"
            elif any(limits.get(name) != requests.get(name) for name in extended):
                yield f"{each.name}: {container['name']}: {extended}"


@rule
def threads_follow_the_cpu_request(objects: list[Object]) -> Iterator[str]:
    for each, container in gateways(objects):
        follow = {one["name"] for one in container["env"] if "resourceFieldRef" in one.get("valueFrom", {})}
        if follow != {"CLIPSERVE_THREADS", "CLIPSERVE_DECODE_THREADS"}:
            yield each.name


@rule
def a_deployment_has_one_disruption_budget_and_spreads(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        budgets = _selecting(objects, "PodDisruptionBudget", "selector", each.labels)
        spreads = "topologySpreadConstraints" in each.spec
        if each.owner["kind"] == "Deployment" and (len(budgets) != 1 or not spreads):
            yield each.name


@rule
def an_autoscaler_rules_alone(objects: list[Object]) -> Iterator[str]:
    """Its Deployment exists, and has no number of its own."""
    deployments = {each["metadata"]["name"]: each for each in of_kind(objects, "Deployment")}
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = deployments.get(each["spec"]["scaleTargetRef"]["name"])
        if target is None or "replicas" in target["spec"]:
            yield title(each)


@rule
def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    """The Pod Security Standard `restricted`, a read-only root, and no token of the API server."""
    for each in pods(objects):
        own = each.spec["securityContext"]
        if not own.get("runAsNonRoot") or own["seccompProfile"]["type"] != "RuntimeDefault":
            yield each.name
        if each.spec["automountServiceAccountToken"] is not False:
            yield f"{each.name}: a token"
        for container in each.all_containers:
            if container["securityContext"] != {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }:
                yield f"{each.name}: {container['name']}"


@rule
def behind_a_proxy_clients_are_told_apart(objects: list[Object]) -> Iterator[str]:
    proxies = of_kind(objects, "Ingress", "Gateway")
    for each, container in gateways(objects):
        if bool(proxies) != ("CLIPSERVE_TRUSTED_PROXIES" in settings_of(container, objects)):
            yield each.name


@rule
def a_route_leads_from_a_listener_to_a_port(objects: list[Object]) -> Iterator[str]:
    ports = {
        (one["metadata"]["name"], port["port"])
        for one in of_kind(objects, "Service")
        for port in one["spec"]["ports"]
    }
    listeners = {
        (one["metadata"]["name"], listener["name"])
        for one in of_kind(objects, "Gateway")
        for listener in one["spec"]["listeners"]
    }
    for each in of_kind(objects, "HTTPRoute", "GRPCRoute"):
        parents = {(one["name"], one["sectionName"]) for one in each["spec"]["parentRefs"]}
        backends = {
            (one["name"], one["port"]) for entry in each["spec"]["rules"] for one in entry["backendRefs"]
        }
        if parents - listeners or backends - ports:
            yield f"{title(each)}: {json.dumps([*parents, *backends])}"


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_every_rendering_keeps(check: Rule, objects: dict[str, list[Object]]) -> None:
    wrong = {name: found for name, all_of in objects.items() if (found := [*check(all_of)])}
    assert wrong == {}
