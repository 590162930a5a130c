"""Starts, ends and probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from clipserve.wiring.serve import _MARGIN_SECONDS
from tests.deploy.manifests import Object, Pods, gateways, of_kind, pods, selects, settings_of, title

_DEFAULT_GRACE = 30  # of Kubernetes, in seconds
_DEFAULT_DEADLINE = 600  # of Kubernetes, in seconds, for the progress of a Deployment
_LEAST_CHECK = 30  # seconds between two looks of a load balancer, of the slow ones
_LEAST_DELAY = 5  # seconds, until every node has seen that a pod is not ready: measured, none failed


def the_grace_period_covers_the_end(objects: list[Object]) -> Iterator[str]:
    """A preStop that sleeps longer is refused by the API server; a drain that takes longer is killed."""
    for each in pods(objects):
        grace = each.spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
        last = max((_sleep(one) + _drain(one, objects) for one in each.sidecars), default=0)
        for container in each.containers:
            needed = _sleep(container) + _drain(container, objects) + last
            if needed >= grace:
                yield f"{each.name}: ends in up to {needed:g} s, its grace period is {grace} s"


def a_gateway_waits_before_it_drains(objects: list[Object]) -> Iterator[str]:
    for each, container in gateways(objects):
        delay = float(settings_of(container, objects).get("CLIPSERVE_DRAIN_DELAY_SECONDS", 0))
        if delay < _LEAST_DELAY:
            yield f"{each.name}: CLIPSERVE_DRAIN_DELAY_SECONDS is {delay:g}, requests are lost below {_LEAST_DELAY}"


def probes_that_restart_have_one_success(objects: list[Object]) -> Iterator[str]:
    for each, container, kind, probe in _probes(objects):
        if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            yield f"{each.name}: {kind} of {container['name']} has a successThreshold that is not 1"


def init_containers_have_no_probes(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.spec.get("initContainers", []):
            if container.get("restartPolicy") != "Always" and any(
                key in container for key in ("lifecycle", *_KINDS)
            ):
                yield f"{each.name}: the init container {container['name']} has a probe or a hook"


def every_server_has_all_probes(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        servers = [*each.sidecars, *each.containers]
        missing = [kind for kind in _KINDS for container in servers if kind not in container]
        if each.owner["kind"] != "Job" and missing:
            yield f"{each.name}: has no {', '.join(missing)}"


def a_gateway_is_probed_on_its_operations_port(objects: list[Object]) -> Iterator[str]:
    """512 idle connections fill the port of clients, and a probe there restarts a healthy pod."""
    for each, container in gateways(objects):
        for kind in _KINDS:
            probe = container.get(kind, {}).get("httpGet", {})
            path = "/readyz" if kind == "readinessProbe" else "/livez"
            if (probe.get("port"), probe.get("path")) != ("operations", path):
                yield f"{each.name}: {kind} does not ask {path} on the port `operations`"
        if {"name": "operations", "containerPort": 8082} not in container["ports"]:
            yield f"{each.name}: the port `operations` is not 8082"


def triton_has_grpc_probes(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.all_containers:
            if container["name"] == "triton" and any(
                "grpc" not in container.get(kind, {}) for kind in _KINDS
            ):
                yield f"{each.name}: a probe of Triton is not a native one of gRPC"


def an_update_can_move(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "Deployment"):
        update = each["spec"].get("strategy", {}).get("rollingUpdate", {})
        if {update.get("maxSurge"), update.get("maxUnavailable")} <= {0, "0%"}:
            yield f"{title(each)}: may have neither a pod more nor one less"


def a_start_fits_its_deadline(objects: list[Object]) -> Iterator[str]:
    """Else `kubectl rollout status` gives up on pods that still may start; gateways start after their Triton."""
    needed = {
        each.name: max(map(_start, each.containers)) + sum(map(_start, each.sidecars))
        for each in pods(objects)
    }
    for each, container in gateways(objects):
        if settings_of(container, objects).get("CLIPSERVE_BACKEND") == "triton":
            color = each.labels.get("clipserve/color")
            tritons = [
                _deadline(one.owner)
                for one in pods(objects)
                if one.labels.get("app.kubernetes.io/component") == "triton"
                and one.labels.get("clipserve/color") == color
            ]
            needed[each.name] += max(tritons, default=0)  # none: it is beside the gateway
    for owner in of_kind(objects, "Deployment"):
        start, deadline = needed[title(owner)], _deadline(owner)
        if deadline <= start:
            yield f"{title(owner)}: may start for {start:g} s, its deadline is {deadline:g} s"


def the_last_pod_of_a_node_outlives_the_check(objects: list[Object]) -> Iterator[str]:
    """With the policy Local a node has its own pods only: one stays ready until the load balancer looks again."""
    for service in of_kind(objects, "Service"):
        if service["spec"].get("externalTrafficPolicy") != "Local":
            continue
        for each in pods(objects):
            slept = max(map(_sleep, each.containers))
            if selects(service["spec"]["selector"], each.labels) and slept <= _LEAST_CHECK:
                yield f"{each.name}: is gone before a load balancer has looked again"


_KINDS = ("startupProbe", "readinessProbe", "livenessProbe")


def _probes(objects: list[Object]) -> Iterator[tuple[Pods, dict[str, Any], str, dict[str, Any]]]:
    for each in pods(objects):
        for container in each.all_containers:
            for kind in _KINDS:
                if kind in container:
                    yield each, container, kind, container[kind]


def _start(container: dict[str, Any]) -> float:
    """Seconds that a startup probe allows."""
    probe = container.get("startupProbe", {})
    return float(probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3))


def _deadline(deployment: Object) -> float:
    return float(deployment["spec"].get("progressDeadlineSeconds", _DEFAULT_DEADLINE))


def _sleep(container: dict[str, Any]) -> float:
    """Seconds of a preStop that sleeps."""
    hook = container.get("lifecycle", {}).get("preStop", {})
    if "sleep" in hook:
        return float(hook["sleep"]["seconds"])
    command = hook.get("exec", {}).get("command", [])
    return float(command[1]) if command[:1] == ["sleep"] else 0.0


def _drain(container: dict[str, Any], objects: list[Object]) -> float:
    """Seconds from SIGTERM to the end, by a server's own settings."""
    if container["name"] == "clipserve":
        given = settings_of(container, objects)
        delay, drain = (float(given[f"CLIPSERVE_DRAIN_{name}SECONDS"]) for name in ("DELAY_", ""))
        return delay + drain + _MARGIN_SECONDS
    waits = [re.fullmatch(r"--exit-timeout-secs=(\d+)", each) for each in container.get("args", [])]
    return sum(float(found[1]) for found in waits if found)
