"""Every value of values.yaml does something: with another one, something else is rendered."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from tools.manifests import TOOLS, run
from tools.renderings import CHART, RENDERINGS, Values

# Of those that cannot be just anything.
OTHER: dict[str, Any] = {
    "image.digest": "sha256:" + "1" * 64,
    "modelVolume.fill": None,  # with `path`: the rendering "own volume" has it
    "modelVolume.accessModes": ["ReadOnlyMany"],
    "gateway.autoscaling.metric": "cpu",
    "edge.type": "ingress",
    "service.type": "NodePort",
    "force": None,  # of the cluster alone: test_upgrades.py
    "served": "green",
    "colors": {"blue": {}, "red": {}},
    "settings": {"CLIPSERVE_LOG_LEVEL": "DEBUG"},
    "gateway.extraEnv": [{"name": "OTHER", "value": "x"}],
    "networkPolicy.dnsPorts": [5353],
    "extraObjects": [{"kind": "Other"}],
    "redis.external": True,
    "imagePullSecrets": [{"name": "other"}],
    "networkPolicy.from": [{"podSelector": {"matchLabels": {"other": "x"}}}],
}
_BASES = ("everything", "by cpu", "ingress", "keys, redis and a load balancer", "own image", "hub", "triton")
ALL = [*(RENDERINGS[name] for name in _BASES), {"redis": {"enabled": True, "external": True}}]


def leaves(values: Values, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name, value


def another(path: str, value: Any) -> Any:
    if path in OTHER:
        return OTHER[path]
    if path.endswith("pullPolicy"):
        return "Always"
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, dict):
        return {"other": "x"}
    if isinstance(value, list):
        return (
            [{"name": "other"}]
            if "Volume" in path or path.endswith(("initContainers", "sidecars"))
            else ["other"]
        )
    return "3" if path.endswith((".cpu", ".memory", "size", "Gi")) else value + "other"


def changed(base: Values, path: str, value: Any) -> Values:
    made = copy.deepcopy(base)
    *parents, last = path.split(".")
    at = made
    for each in parents:
        at = at.setdefault(each, {})
    at[last] = value
    return made


def test_every_value_is_found_in_what_is_rendered(tmp_path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def rendered(made: Values, name: str) -> str:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(made))
        try:
            text = run(TOOLS / "bin" / "helm", "template", "clipserve", CHART, "--values", file)
        except AssertionError:  # with some values this one is refused
            return ""
        return "\n".join(
            line for line in text.splitlines() if "clipserve/values" not in line
        )  # a hash of all

    before = [rendered(base, f"base-{number}") for number, base in enumerate(ALL)]
    assert all(before)

    def dead(leaf: tuple[str, Any]) -> str | None:
        path, value = leaf
        other = another(path, value)
        if path in OTHER and other is None:
            return None
        for base, text in zip(ALL, before, strict=True):
            for each in (True, False) if isinstance(other, bool) else (other,):
                found = rendered(changed(base, path, each), path)
                if found and found != text:
                    return None
        return path

    with ThreadPoolExecutor(2) as pool:
        assert ", ".join(filter(None, pool.map(dead, leaves(values)))) == ""
