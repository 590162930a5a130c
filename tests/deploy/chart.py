"""deploy/k8s as a chart: the values that ask for an installation, and what Helm renders of them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from tests.deploy.builds import Build
from tests.deploy.manifests import K8S, TOOLS, Object, of_kind, parsed, run, title

HELM = TOOLS / "bin" / "helm"

Values = dict[str, Any]


def rendered(values: Values, scratch: Path, namespace: str = "clipserve", chart: Path = K8S) -> list[Object]:
    """Raises AssertionError with Helm's message if it refuses the values."""
    file = scratch / "values.json"
    file.write_text(json.dumps(values))
    return parsed(run(HELM, "template", "any", chart, "--namespace", namespace, "--values", file))


def values_of(one: Build) -> list[Values]:
    """Of each release: one, or the two colors and what they share."""
    components: dict[str, Any] = {part: {} for part in (*one.outside, *one.colors)}
    for path in one.resources:
        _, part, beside = path.split("/")
        components[part].setdefault("with", []).append(beside)
    for generator in dict(one.settings).get("configMapGenerator", []):
        pairs = [literal.split("=") for literal in generator["literals"]]
        components["tensorrt"] |= {name.lower(): value for name, value in pairs}
    overlay = one.overlay.removeprefix("blue-green-") if one.overlay != "blue-green" else "cpu"
    values: Values = {"overlay": overlay, "components": components}
    if not one.overlay.startswith("blue-green"):
        return [values]
    rests = {"replicas": {"clipserve": 0, "triton": 0}} if overlay == "gpu" else {}
    return [values | {"served": "blue"}, values | {"color": "blue"}, values | {"color": "green"} | rests]


def compared(objects: list[Object]) -> dict[str, Object]:
    """Title -> object, without what differs between kustomize and Helm on purpose.

    - Namespace and PriorityClass are applied by themselves; the chart has `plans-key` as values.
    - The hash in the name of a ConfigMap is another; a Job has one in the chart alone.
    - Helm deletes what a release has no longer; ConfigMaps stay for the pods that an update has not replaced.
    - Orders that mean nothing: of volumes, mounts and variables, none of which refers to another.
    """
    found: dict[str, Object] = {}
    hashes: dict[str, str] = {}
    for each in of_kind(objects, "ConfigMap", "Job"):
        name = each["metadata"]["name"]
        hashes[name] = re.sub(r"-[a-z0-9]{10}$", "", name)
    for each in objects:
        if each["kind"] in ("Namespace", "PriorityClass") or title(each) == "ConfigMap/plans-key":
            continue
        one = _plain(copy.deepcopy(each), hashes)
        if each["kind"] == "ConfigMap":
            one["metadata"].pop("annotations", None)
        assert title(one) not in found, title(one)
        found[title(one)] = one
    return found


def _plain(node: Any, hashes: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_plain(each, hashes) for each in node]
    if not isinstance(node, dict):
        return node
    for name in ("volumes", "volumeMounts", "env"):
        if name in node:
            assert not any("$(" in each.get("value", "") for each in node[name])
            node[name] = sorted(node[name], key=lambda each: (each["name"], each.get("mountPath", "")))
    plain = {key: _plain(value, hashes) for key, value in node.items()}
    if plain.get("name") in hashes:
        plain["name"] = hashes[plain["name"]]
    return plain
