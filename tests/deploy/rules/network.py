"""Who may speak to whom."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from tests.deploy.manifests import Object, gateways, of_kind, pods, selects, settings_of, title

_METRICS = {8082, 8002}  # of gateways and of Triton
_INNER = ("triton", "redis")  # components that ask nobody who calls
# Where pods, Services, nodes and the metadata of clouds are.
_PRIVATE = (
    *("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("fc00::/7", "fe80::/10"),
)


def what_is_not_named_is_denied(objects: list[Object]) -> Iterator[str]:
    everywhere = [
        each
        for each in of_kind(objects, "NetworkPolicy")
        if each["spec"]["podSelector"] == {}
        and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not each["spec"].keys() & {"ingress", "egress"}
    ]
    if not everywhere:
        yield "no policy denies all that the others do not name"


def every_policy_has_pods(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "NetworkPolicy"):
        if not _of_others(each, objects) and not any(
            selects(each["spec"]["podSelector"], one.labels) for one in pods(objects)
        ):
            yield f"{title(each)}: is about no pod"


def metrics_are_for_monitoring_alone(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "NetworkPolicy"):
        for rule in each["spec"].get("ingress", []):
            alone = _one_namespace(rule) or _of_others(each, objects)
            if _lets_in(rule, _METRICS) and not alone:
                yield f"{title(each)}: metrics are for more than one namespace"
    for service in of_kind(objects, "Service"):
        if {port["port"] for port in service["spec"]["ports"]} & _METRICS:
            yield f"{title(service)}: leads to metrics"


def inner_servers_are_for_gateways_alone(objects: list[Object]) -> Iterator[str]:
    """Of the same color, if there are two: the policy's peers are all that it lets in."""
    for each in pods(objects):
        if each.labels.get("app.kubernetes.io/component") not in _INNER:
            continue
        for policy in of_kind(objects, "NetworkPolicy"):
            if not selects(policy["spec"]["podSelector"], each.labels):
                continue
            for rule in policy["spec"].get("ingress", []):
                metrics = _only_metrics(rule) and _one_namespace(rule)
                if not metrics and not _gateways_of(each.labels, rule):
                    yield f"{title(policy)}: lets others than gateways to {each.name}"


def gateways_reach_what_they_need(objects: list[Object]) -> Iterator[str]:
    """The name server, and each inner server of their color."""
    for gateway in pods(objects):
        if gateway.labels.get("app.kubernetes.io/component") != "gateway":
            continue
        rules = [
            rule
            for policy in of_kind(objects, "NetworkPolicy")
            if selects(policy["spec"]["podSelector"], gateway.labels)
            for rule in policy["spec"].get("egress", [])
        ]
        if not any(_lets_in(rule, {53}) and "to" not in rule for rule in rules):
            yield f"{gateway.name}: cannot ask the name server"
        for inner in pods(objects):
            same = inner.labels.get("clipserve/color") in (None, gateway.labels.get("clipserve/color"))
            needed = same and inner.labels.get("app.kubernetes.io/component") in _INNER
            if needed and not any(_leads_to(rule, inner.labels) for rule in rules):
                yield f"{gateway.name}: cannot reach {inner.name}"


def a_load_balancer_is_for_known_clients(objects: list[Object]) -> Iterator[str]:
    """Else whoever finds it may use the service: it has no TLS, and a provider gives it a public address."""
    for service in of_kind(objects, "Service"):
        if service["spec"].get("type") != "LoadBalancer":
            continue
        if not service["spec"].get("loadBalancerSourceRanges"):
            yield f"{title(service)}: admits all addresses"
        for each, container in gateways(objects):
            if "CLIPSERVE_KEYS_FILE" not in settings_of(container, objects):
                yield f"{title(service)}: {each.name} asks for no keys"


def a_way_out_leads_past_the_cluster(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "NetworkPolicy"):
        peers = [peer for rule in each["spec"].get("egress", []) for peer in rule.get("to", [])]
        for block in (peer["ipBlock"] for peer in peers if "ipBlock" in peer):
            closed = [*map(ip_network, block.get("except", []))]
            for private in map(ip_network, _PRIVATE):
                # Of two networks that overlap, the one with the shorter prefix holds the other.
                left_out = any(one.overlaps(private) and one.prefixlen <= private.prefixlen for one in closed)
                if ip_network(block["cidr"]).overlaps(private) and not left_out:
                    yield f"{title(each)}: leads to {private}"


def _of_others(policy: Object, objects: list[Object]) -> bool:
    """Whether it is about pods that others start: proxies of a Gateway, or cert-manager's for an edge."""
    labels = policy["spec"]["podSelector"].get("matchLabels", {})
    name = labels.get("gateway.networking.k8s.io/gateway-name")
    if labels == {"acme.cert-manager.io/http01-solver": "true"}:
        return bool(of_kind(objects, "Gateway", "Ingress"))
    return f"Gateway/{name}" in map(title, objects)


def _lets_in(rule: dict[str, Any], ports: set[int]) -> bool:
    """A rule without ports is about all of them."""
    return "ports" not in rule or bool({port["port"] for port in rule["ports"]} & ports)


def _only_metrics(rule: dict[str, Any]) -> bool:
    return {port["port"] for port in rule.get("ports", [{"port": 0}])} <= _METRICS


def _one_namespace(rule: dict[str, Any]) -> bool:
    """Whether all that a rule lets in is in one namespace, which it names."""
    peers = rule.get("from", [])
    selectors = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in peers]
    return [[*each] for each in selectors] == [["kubernetes.io/metadata.name"]]


def _leads_to(rule: dict[str, Any], labels: dict[str, str]) -> bool:
    return any("podSelector" in peer and selects(peer["podSelector"], labels) for peer in rule.get("to", []))


def _gateways_of(labels: dict[str, str], rule: dict[str, Any]) -> bool:
    """Whether all that a rule lets in are gateways of this namespace, of the same color."""
    wanted = {"app.kubernetes.io/component": "gateway"}
    if color := labels.get("clipserve/color"):
        wanted["clipserve/color"] = color
    peers = rule.get("from", [])
    return bool(peers) and all(
        peer.keys() == {"podSelector"}
        and wanted.items() <= peer["podSelector"].get("matchLabels", {}).items()
        for peer in peers
    )
