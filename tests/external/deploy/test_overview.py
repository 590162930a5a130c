"""What the overview of the overlays says of them."""

from __future__ import annotations

import re

from tests.deploy.builds import COMPONENTS, OVERLAYS
from tests.deploy.manifests import K8S, Object, gpus, pods

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
