"""Names, and what refers to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.deploy.manifests import Object, environment_needs, of_kind, pods, selects, title

# Made by hand before the first apply; the README of the component says how.
SECRETS = {
    "clipserve-grpc-tls",
    "clipserve-hub",
    "clipserve-keys",
    "clipserve-redis",
    "clipserve-storage",
    "clipserve-tls",
}
_WITHOUT_NAMESPACE = ("Namespace", "PriorityClass")


def port_names_are_valid(objects: list[Object]) -> Iterator[str]:
    """RFC 6335: up to 15 small letters, digits and dashes, a letter among them."""
    for owner, ports in _ports(objects):
        for port in ports:
            name = port.get("name", "port")
            if len(name) > 15 or not re.fullmatch(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", name):
                yield f"{owner}: {name} is not a name of a port"


def port_names_are_unique(objects: list[Object]) -> Iterator[str]:
    for owner, ports in _ports(objects):
        for key in ("name", "port", "containerPort"):
            for value, count in Counter(port.get(key) for port in ports).items():
                if value is not None and count > 1:
                    yield f"{owner}: the port {value} is there twice"


def named_ports_exist(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.containers:
            named = {port["name"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in ("httpGet", "tcpSocket", "grpc"):
                    port = container.get(kind, {}).get(action, {}).get("port")
                    if isinstance(port, str) and (port not in named or action == "grpc"):
                        yield f"{each.name}: {kind} asks the port {port}, which it cannot name"
    for service in of_kind(objects, "Service"):
        chosen = [each for each in pods(objects) if selects(service["spec"]["selector"], each.labels)]
        for port in service["spec"]["ports"]:
            for each in chosen:
                named = {own["name"] for container in each.containers for own in container.get("ports", [])}
                if port["targetPort"] not in named:
                    yield f"{title(service)}: {each.name} has no port {port['targetPort']}"


def names_are_valid(objects: list[Object]) -> Iterator[str]:
    for each in objects:
        name = each["metadata"]["name"]
        if len(name) > 63 or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            yield f"{title(each)}: not a name that every kind of object takes"
        for value in each["metadata"].get("labels", {}).values():
            if len(value) > 63 or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
                yield f"{title(each)}: {value} is not a value of a label"


def objects_are_unique(objects: list[Object]) -> Iterator[str]:
    for name, count in Counter(map(title, objects)).items():
        if count > 1:
            yield f"{name} is there {count} times"


def everything_is_in_the_namespace(objects: list[Object]) -> Iterator[str]:
    names = {each["metadata"]["name"] for each in of_kind(objects, "Namespace")}
    for each in objects:
        if each["kind"] not in _WITHOUT_NAMESPACE and each["metadata"].get("namespace") not in names:
            yield f"{title(each)}: in no namespace of this build"


def what_pods_refer_to_exists(objects: list[Object]) -> Iterator[str]:
    known = {(each["kind"], each["metadata"]["name"]) for each in objects}
    known |= {("Secret", name) for name in SECRETS}
    for each in pods(objects):
        wanted = [("ServiceAccount", each.spec.get("serviceAccountName", "default"))]
        if "priorityClassName" in each.spec:
            wanted.append(("PriorityClass", each.spec["priorityClassName"]))
        for volume in each.spec.get("volumes", []):
            wanted += _volume_needs(volume)
        for container in each.all_containers:
            wanted += environment_needs(container)
        for kind, name in wanted:
            if (kind, name) not in known:
                yield f"{each.name}: there is no {kind} {name}"


def mounts_have_volumes(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        claims = each.owner["spec"].get("volumeClaimTemplates", [])
        volumes = [volume["name"] for volume in each.spec.get("volumes", [])]
        volumes += [claim["metadata"]["name"] for claim in claims]
        if len(set(volumes)) < len(volumes):
            yield f"{each.name}: a volume is there twice"
        for container in each.all_containers:
            mounts = container.get("volumeMounts", [])
            if unknown := {mount["name"] for mount in mounts} - set(volumes):
                yield f"{each.name}: {container['name']} mounts {', '.join(unknown)}, which is no volume"
            if len({mount["mountPath"] for mount in mounts}) < len(mounts):
                yield f"{each.name}: {container['name']} mounts two volumes in one place"


def _ports(objects: list[Object]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for each in pods(objects):
        for container in each.all_containers:
            yield f"{each.name}: {container['name']}", container.get("ports", [])
    for service in of_kind(objects, "Service"):
        yield title(service), service["spec"]["ports"]


def _volume_needs(volume: dict[str, Any]) -> list[tuple[str, str]]:
    for key, kind, field in (
        ("secret", "Secret", "secretName"),
        ("configMap", "ConfigMap", "name"),
        ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
    ):
        if key in volume:
            return [(kind, volume[key][field])]
    return []
