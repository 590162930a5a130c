"""What pods ask of their nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.deploy.manifests import ROOT, Object, gateways, pods, quantity, settings_of


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
    """docs/memory.md says how much that is, with the demo model and with a usual one."""
    text = (ROOT / "docs/memory.md").read_text()
    told = re.search(r"^Together ([\d.]+) GB\.\s+With ViT-B/32 it is ([\d.]+) GB", text, re.MULTILINE)
    assert told
    for each, container in gateways(objects):
        asked = quantity(container["resources"]["requests"]["memory"])
        demo = settings_of(container, objects)["CLIPSERVE_MODELS"] == "/app/demo"
        needed = float(told[1] if demo else told[2])
        if asked < needed * 1e9:
            yield f"{each.name}: asks for {asked / 1e9:g} GB, docs/memory.md says {needed}"


def redis_refuses_before_the_kernel_ends_it(objects: list[Object]) -> Iterator[str]:
    """While it writes its file anew, it may hold everything twice."""
    for each in pods(objects):
        for container in each.containers:
            if container["name"] != "redis":
                continue
            told = re.search(r"--maxmemory (\d+)mb", " ".join(container["args"]))
            limit = quantity(container["resources"]["limits"]["memory"])
            if not told or 2 * int(told[1]) * 2**20 > limit:
                yield f"{each.name}: does not say by --maxmemory that it may hold half of its memory"


def volumes_are_bounded(objects: list[Object]) -> Iterator[str]:
    """An emptyDir without a size takes the disk of its node."""
    for each in pods(objects):
        for volume in each.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{each.name}: the volume {volume['name']} has no bound"
