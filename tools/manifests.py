"""Manifests as Kubernetes gets them, and what lies in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent  # of the environment that runs the tests
TOOLS = ROOT / ".deploy-tools"  # Helm, kubectl, and Node's modules

Object = dict[str, Any]  # one manifest, as YAML has it

# Of operators that a cluster may have or not.
CUSTOM = ("PodMonitor", "PrometheusRule", "ScaledObject", "Gateway", "HTTPRoute", "GRPCRoute")

_WORKLOADS = ("Deployment", "StatefulSet", "Job")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a tool prints, standard error too.

    Raises:
        AssertionError: it failed; the message is what it printed.
    """
    done = subprocess.run([*command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def parsed(text: str) -> list[Object]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@dataclass(frozen=True)
class Pods:
    """The pods that one object makes: `spec` is their PodSpec, `labels` are theirs."""

    owner: Object
    spec: dict[str, Any]
    labels: dict[str, str]

    @property
    def name(self) -> str:
        return title(self.owner)

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Those that stay, without the init containers."""
        return list(self.spec["containers"])

    @property
    def all_containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[Pods]:
    for each in of_kind(objects, *_WORKLOADS):
        template = each["spec"]["template"]
        yield Pods(each, template["spec"], template["metadata"].get("labels", {}))


def gateways(objects: list[Object]) -> Iterator[tuple[Pods, dict[str, Any]]]:
    """The containers that run the service."""
    for each in pods(objects):
        for container in each.containers:
            if container["name"] == "clipserve":
                yield each, container


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def title(one: Object) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of labels (`matchLabels`, or a Service's plain one) is met; the empty one is by all."""
    wanted = selector.get("matchLabels", {}) if "matchLabels" in selector or not selector else selector
    return all(labels.get(key) == value for key, value in wanted.items())


def settings_of(container: dict[str, Any], objects: list[Object]) -> dict[str, str]:
    """The environment of a container as far as it is known: from ConfigMaps, and plain values."""
    maps = {each["metadata"]["name"]: each.get("data", {}) for each in of_kind(objects, "ConfigMap")}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source.get("configMapRef", {}).get("name"), {})
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("configMapKeyRef")
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        elif reference and reference["key"] in maps.get(reference["name"], {}):
            found[variable["name"]] = maps[reference["name"]][reference["key"]]
    return found


def config_maps_of(container: dict[str, Any]) -> set[str]:
    """The names of those that its variables come from."""
    sources = container.get("envFrom", []) + [each.get("valueFrom", {}) for each in container.get("env", [])]
    keys = ("configMapRef", "configMapKeyRef")
    return {source[key]["name"] for source in sources for key in keys if key in source}


def quantity(text: str | int | float) -> float:
    """A quantity of Kubernetes as a number: cores, or bytes."""
    factors = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
    digits = str(text).rstrip("mkMGiK")
    unit = str(text)[len(digits) :]
    return float(digits) * (factors[unit] if unit else 1)
