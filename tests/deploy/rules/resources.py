"""What pods ask of their nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.deploy.manifests import ROOT, Object, gateways, pods, quantity


def extended_resources_are_limited(objects: list[Object]) -> Iterator[str]:
    """GPUs are not shared out beyond what there is: the API server wants the limit, equal to the request."""
    for each in pods(objects):
        for container in each.all_containers:
            resources = container.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            for name in {*requests, *limits}:
                if "/" in name and (name not in limits or requests.get(name, limits[name]) != limits[name]):
                    yield f"{each.name}: {container['name']} asks for {name} without the same limit"


def requests_are_within_limits(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.all_containers:
            resources = container.get("resources", {})
            for name, limit in resources.get("limits", {}).items():
                if quantity(resources.get("requests", {}).get(name, limit)) > quantity(limit):
                    yield f"{each.name}: {container['name']} asks for more {name} than its limit"


def everything_asks_for_cpu_and_memory(objects: list[Object]) -> Iterator[str]:
    for each in pods(objects):
        for container in each.all_containers:
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
                yield f"{each.name}: {container['name']} asks for no cpu or memory"
            if "memory" not in resources.get("limits", {}):
                yield f"{each.name}: {container['name']} has no limit of memory"


def pools_follow_the_cpu_request(objects: list[Object]) -> Iterator[str]:
    """Without a limit of CPU a container sees all cores of its node, and would start as many decoders."""
    wanted = {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1"}}
    for each, container in gateways(objects):
        sources = {variable["name"]: variable.get("valueFrom") for variable in container.get("env", [])}
        for name in ("CLIPSERVE_THREADS", "CLIPSERVE_DECODE_THREADS"):
            if sources.get(name) != wanted:
                yield f"{each.name}: {name} is not the request of CPU"


def a_gateway_gets_the_memory_that_it_may_take(objects: list[Object]) -> Iterator[str]:
    """docs/memory.md says how much that is."""
    told = re.search(r"^Together ([\d.]+) GB", (ROOT / "docs/memory.md").read_text(), re.MULTILINE)
    assert told
    for each, container in gateways(objects):
        asked = quantity(container["resources"]["requests"]["memory"])
        if asked < float(told[1]) * 1e9:
            yield f"{each.name}: asks for {asked / 1e9:g} GB, docs/memory.md says {told[1]}"


def volumes_are_bounded(objects: list[Object]) -> Iterator[str]:
    """An emptyDir without a size takes the disk of its node."""
    for each in pods(objects):
        for volume in each.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{each.name}: the volume {volume['name']} has no bound"
