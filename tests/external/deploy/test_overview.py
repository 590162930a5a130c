"""What the overview of the overlays says of them."""

from __future__ import annotations

import re

from clipserve import __version__
from tests.deploy.builds import COMPONENTS, OVERLAYS
from tests.deploy.manifests import K8S, Object, gpus, of_kind, pods, quantity

FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), *(f"components/{name}" for name in COMPONENTS)]


def test_the_overview_counts_the_gpus_that_are_asked_for_at_first(objects: dict[str, list[Object]]) -> None:
    """A Job borrows one of them."""
    told = re.findall(r"^\| \[(\S+)\]\(overlays/.*\| (\d) \|$", (K8S / "README.md").read_text(), re.MULTILINE)
    held = {
        name: sum(
            gpus(each) * each.owner["spec"].get("replicas", 0)
            for each in pods(objects[name])
            if each.owner["kind"] == "Deployment"
        )
        for name in OVERLAYS
    }
    assert {name: int(number) for name, number in told} == held


def test_every_object_says_which_version_it_is_of(objects: dict[str, list[Object]]) -> None:
    told = {each["metadata"]["labels"]["app.kubernetes.io/version"] for each in objects["blue-green-gpu"]}
    assert told == {__version__}


def test_users_are_fixed_everywhere_but_on_openshift(objects: dict[str, list[Object]]) -> None:
    for name, all_of in objects.items():
        fixed = {"runAsUser" in each.spec["securityContext"] for each in pods(all_of)}
        assert fixed == {"openshift" not in name}, name


def test_whoever_asks_for_names_reaches_the_name_servers_of_openshift(
    objects: dict[str, list[Object]],
) -> None:
    ports = {
        each["metadata"]["name"]: {(port["port"], port["protocol"]) for port in rule["ports"]}
        for each in of_kind(objects["cpu on openshift"], "NetworkPolicy")
        for rule in each["spec"].get("egress", [])
        if "to" not in rule and rule["ports"][0]["port"] == 53
    }
    assert ports.keys() == {"gateway", "download"}
    for asked in ports.values():
        assert asked == {(number, protocol) for number in (53, 5353) for protocol in ("UDP", "TCP")}


def test_the_runtime_is_named_where_a_gpu_is_asked_for(objects: dict[str, list[Object]]) -> None:
    """Tritons and the Job of plans, and nobody else."""
    named = {each.name: each.spec.get("runtimeClassName") for each in pods(objects["gpu-tensorrt+many"])}
    asks = {each.name for each in pods(objects["gpu-tensorrt+many"]) if gpus(each)}
    assert len(asks) == 2
    assert {name for name, runtime in named.items() if runtime == "nvidia"} == asks


def test_the_readme_says_how_many_cores_a_container_requests_at_most(
    objects: dict[str, list[Object]],
) -> None:
    """With a smaller default of a LimitRange, the request would be above the limit."""
    told = re.search(r"largest request, (\d) CPUs or with GPUs (\d):", (K8S / "README.md").read_text())
    asked = {
        overlay: max(
            quantity(container["resources"]["requests"]["cpu"])
            for each in pods(objects[overlay])
            for container in each.all_containers
        )
        for overlay in OVERLAYS
    }
    assert told
    cpu, gpu = map(int, told.groups())
    assert asked == {overlay: gpu if "gpu" in overlay else cpu for overlay in OVERLAYS}
