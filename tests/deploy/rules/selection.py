"""Selectors: who is served by what."""

from __future__ import annotations

from collections.abc import Iterator

from clipserve.settings import Settings
from tests.deploy.manifests import Object, gateways, of_kind, pods, selects, settings_of, title


def an_owner_selects_its_own_pods(objects: list[Object]) -> Iterator[str]:
    """The API server refuses a template without the labels; two owners that select each other's pods fight."""
    for owner in of_kind(objects, "Deployment", "StatefulSet"):
        chosen = [each.name for each in pods(objects) if selects(owner["spec"]["selector"], each.labels)]
        if chosen != [title(owner)]:
            yield f"{title(owner)}: selects the pods of {', '.join(chosen) or 'nobody'}"


def a_service_leads_to_one_workload(objects: list[Object]) -> Iterator[str]:
    """To more than one it would mix fingerprints, in a change of model above all."""
    for service in of_kind(objects, "Service"):
        chosen = [each.name for each in pods(objects) if selects(service["spec"]["selector"], each.labels)]
        if len(chosen) != 1:
            yield f"{title(service)}: leads to {', '.join(chosen) or 'nobody'}"


def all_services_of_clients_lead_to_the_same(objects: list[Object]) -> Iterator[str]:
    """REST and gRPC are switched together."""
    selectors = {
        tuple(sorted(each["spec"]["selector"].items()))
        for each in of_kind(objects, "Service")
        if each["spec"]["selector"].get("app.kubernetes.io/component") == "gateway"
    }
    if len(selectors) > 1:
        yield f"the Services of gateways have {len(selectors)} selectors"


def triton_is_looked_up_by_a_headless_name(objects: list[Object]) -> Iterator[str]:
    """Behind one address gRPC would keep to one Triton."""
    for service in of_kind(objects, "Service"):
        if service["metadata"]["name"].startswith("triton") and service["spec"].get("clusterIP") != "None":
            yield f"{title(service)}: is not headless"


def grpc_ports_say_their_protocol(objects: list[Object]) -> Iterator[str]:
    """Gateways and meshes take an unnamed port for HTTP/1.1."""
    encrypted = {
        each.labels["app.kubernetes.io/component"]
        for each, container in gateways(objects)
        if "CLIPSERVE_GRPC_TLS_CERT_FILE" in settings_of(container, objects)
    }
    for service in of_kind(objects, "Service"):
        of = service["spec"]["selector"].get("app.kubernetes.io/component")
        wanted = "https" if of in encrypted else "kubernetes.io/h2c"
        for port in service["spec"]["ports"]:
            if port["name"] == "grpc" and port.get("appProtocol") != wanted:
                yield f"{title(service)}: the port grpc has no appProtocol {wanted}"


def a_stateful_set_has_its_service(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "StatefulSet"):
        if f"Service/{each['spec'].get('serviceName')}" not in map(title, objects):
            yield f"{title(each)}: its Service is not there"


def an_ingress_leads_to_a_port(objects: list[Object]) -> Iterator[str]:
    known = {
        (each["metadata"]["name"], port["name"])
        for each in of_kind(objects, "Service")
        for port in each["spec"]["ports"]
    }
    for each in of_kind(objects, "Ingress"):
        for rule in each["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                if (service["name"], service["port"].get("name")) not in known:
                    yield f"{title(each)}: leads to no port of a Service"


def an_ingress_passes_photos(objects: list[Object]) -> Iterator[str]:
    """Controllers of nginx accept 1 MB unless they are told otherwise; the one of the class `nginx` was retired."""
    largest = int(Settings.model_fields["max_body_bytes"].default)
    for each in of_kind(objects, "Ingress"):
        if each["spec"]["ingressClassName"] == "nginx":
            yield f"{title(each)}: nobody mends the controller of this class"
        annotations = each["metadata"].get("annotations", {})
        for name in ("nginx.org/client-max-body-size", "nginx.ingress.kubernetes.io/proxy-body-size"):
            accepted = int(annotations.get(name, "1m").rstrip("m"))
            if 0 < accepted * 2**20 < largest:
                yield f"{title(each)}: {name} is less than CLIPSERVE_MAX_BODY_BYTES"


def a_monitor_asks_a_port_that_its_pods_have(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "PodMonitor"):
        for one in pods(objects):
            if not selects(each["spec"]["selector"], one.labels):
                continue
            named = {port["name"] for container in one.all_containers for port in container.get("ports", [])}
            for endpoint in each["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in named:
                    yield f"{title(each)}: {one.name} has no port {endpoint['port']}"
