"""Routes of the Gateway API."""

from __future__ import annotations

from collections.abc import Iterator

from clipserve.settings import Settings
from tests.deploy.manifests import Object, of_kind, title

_ROUTES = ("HTTPRoute", "GRPCRoute")


def a_route_leads_from_a_listener_to_a_port(objects: list[Object]) -> Iterator[str]:
    ports = {
        (each["metadata"]["name"], port["port"]): port["name"]
        for each in of_kind(objects, "Service")
        for port in each["spec"]["ports"]
    }
    kinds = {
        (each["metadata"]["name"], listener["name"]): [
            one["kind"] for one in listener["allowedRoutes"]["kinds"]
        ]
        for each in of_kind(objects, "Gateway")
        for listener in each["spec"]["listeners"]
    }
    for each in of_kind(objects, *_ROUTES):
        for parent in each["spec"]["parentRefs"]:
            if each["kind"] not in kinds.get((parent["name"], parent["sectionName"]), []):
                yield f"{title(each)}: no listener {parent['sectionName']} takes it"
        wanted = "http" if each["kind"] == "HTTPRoute" else "grpc"
        for backend in (one for rule in each["spec"]["rules"] for one in rule["backendRefs"]):
            if ports.get((backend["name"], backend["port"])) != wanted:
                yield f"{title(each)}: leads to no port {wanted} of a Service"


def rest_and_grpc_have_hosts_of_their_own(objects: list[Object]) -> Iterator[str]:
    """Of two routes of different kinds for one host of one port, an implementation accepts only the older one."""
    for each in of_kind(objects, "Gateway"):
        places = [(one["port"], one["hostname"]) for one in each["spec"]["listeners"]]
        if len(set(places)) < len(places):
            yield f"{title(each)}: two listeners have one host"


def a_gateway_terminates_tls(objects: list[Object]) -> Iterator[str]:
    for each in of_kind(objects, "Gateway"):
        for listener in each["spec"]["listeners"]:
            if listener["protocol"] != "HTTPS" or listener["tls"]["mode"] != "Terminate":
                yield f"{title(each)}: {listener['name']} is not encrypted"


def a_route_waits_longer_than_the_service(objects: list[Object]) -> Iterator[str]:
    """So that the service's own answer, with its reason, comes first; bulk requests have no end."""
    longest = sum(
        Settings.model_fields[name].default for name in ("body_timeout_seconds", "deadline_seconds")
    )
    for each in of_kind(objects, "HTTPRoute"):
        waits = {
            match["path"]["value"]: float(rule["timeouts"]["request"].removesuffix("s"))
            for rule in each["spec"]["rules"]
            for match in rule["matches"]
        }
        if waits.get("/bulk") != 0 or waits["/"] <= longest:
            yield f"{title(each)}: waits {waits}, and the service may take {longest:g} s"
