"""The chart renders what kustomize builds, from the same files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.builds import BUILDS, Build, build
from tests.deploy.chart import HELM, Values, compared, rendered, values_of
from tests.deploy.manifests import K8S, ROOT, Object, of_kind, parsed, run

PAGE = (K8S / "CHART.md").read_text()


@pytest.mark.parametrize("name", BUILDS)
def test_helm_renders_what_kustomize_builds(
    name: str, objects: dict[str, list[Object]], tmp_path: Path
) -> None:
    namespace = dict(BUILDS[name].settings).get("namespace", "clipserve")
    releases = [rendered(values, tmp_path, namespace) for values in values_of(BUILDS[name])]
    assert compared([each for release in releases for each in release]) == compared(objects[name])


def test_what_is_set_for_an_installation_is_what_a_kustomization_sets(tmp_path: Path) -> None:
    sizes = {"requests": {"cpu": "3"}}
    pod = {"spec": {"containers": [{"name": "clipserve", "resources": sizes}]}}
    named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "clipserve"}}
    secrets = {
        "target": {"kind": "ServiceAccount"},
        "patch": "- {op: add, path: /imagePullSecrets, value: [{name: a}]}",
    }
    literals = ["CLIPSERVE_MAX_QUEUE_SECONDS=2"]
    settings = (
        ("patches", [{"patch": json.dumps(named | {"spec": {"template": pod}})}, secrets]),
        (
            "images",
            [
                {"name": "clipserve", "newName": "a.b:5000/c"},
                {"name": "tritonserver", "newName": "d", "newTag": "e"},
            ],
        ),
        ("replicas", [{"name": "clipserve", "count": 4}, {"name": "triton", "count": 1}]),
        ("configMapGenerator", [{"name": "clipserve", "behavior": "merge", "literals": literals}]),
    )
    built = parsed(build(Build("gpu", settings=settings), K8S, tmp_path))
    values = {
        "overlay": "gpu",
        "patches": [secrets],
        "resources": {"clipserve": sizes},
        "images": {"clipserve": "a.b:5000/c", "tritonserver": "d:e"},
        "replicas": {"clipserve": 4, "triton": 1},
        "settings": {"CLIPSERVE_MAX_QUEUE_SECONDS": 2},
    }
    assert compared(rendered(values, tmp_path)) == compared(built)
    digest = rendered(values | {"images": {"clipserve": "a/b@sha256:cd"}, "model": "/app/mine"}, tmp_path)
    assert {container["image"] for container in _containers(digest)} == {
        "a/b@sha256:cd",
        "tritonserver:26.05-py3",
    }
    assert {"CLIPSERVE_MODELS": "/app/mine"} in [each["data"] for each in of_kind(digest, "ConfigMap")]


def test_a_slice_of_a_gpu_is_asked_for_by_its_name(tmp_path: Path) -> None:
    made = rendered({"overlay": "gpu", "components": {"mig": {"slice": "mig-3g.40gb"}}}, tmp_path)
    asked = [container["resources"]["limits"].keys() for container in _containers(made)]
    assert {name for names in asked for name in names if "/" in name} == {"nvidia.com/mig-3g.40gb"}


def test_the_switch_changes_where_services_lead_and_nothing_else(tmp_path: Path) -> None:
    both = {"keys": True, "edge-loadbalancer": True, "redis": True}
    blue, green = (
        compared(rendered({"served": color, "components": both}, tmp_path)) for color in ("blue", "green")
    )
    changed = {name for name in blue.keys() | green.keys() if blue.get(name) != green.get(name)}
    assert changed == {"Service/clipserve", "Service/clipserve-edge", "Service/clipserve-pods"}
    assert {green[name]["spec"]["selector"]["clipserve/color"] for name in changed} == {"green"}


def test_a_job_is_another_one_if_anything_that_it_needs_changes(tmp_path: Path) -> None:
    key = {"gpu": "NVIDIA-L4", "tensorrt": "26.05", "model": "mine", "with": ["plans"]}
    plans = {"overlay": "gpu", "components": {"tensorrt": key}}
    changes: list[Values] = [
        {},
        {"components": {"tensorrt": key | {"model": "other"}}},
        {"components": {"tensorrt": key, "nvidia-runtime": True}},
        {"images": {"tensorrt": "mirror/tensorrt"}},
    ]
    jobs = [of_kind(rendered(plans | change, tmp_path), "Job") for change in changes]
    assert len({job["metadata"]["name"] for (job,) in jobs}) == len(changes)
    (same,) = of_kind(rendered(plans | {"settings": {"CLIPSERVE_MAX_QUEUE_SECONDS": 2}}, tmp_path), "Job")
    assert same == jobs[0][0]


def test_a_release_packs_it_with_the_digest_of_the_image(tmp_path: Path) -> None:
    image = f"registry.example/clipserve@sha256:{'a1' * 32}"
    environment = os.environ | {"PATH": f"{Path(HELM).parent}:{os.environ['PATH']}"}
    for words, status in (([image], 0), (["registry.example/clipserve:0.1.0"], 2)):
        done = subprocess.run(
            [ROOT / ".ci/chart", *words], cwd=tmp_path, env=environment, timeout=300, check=False
        )
        assert done.returncode == status
    (packed,) = tmp_path.glob("clipserve-*.tgz")
    assert f"image: {image}" in run(HELM, "template", packed)


def test_helm_lints_it_and_packs_all_that_it_reads(tmp_path: Path) -> None:
    run(HELM, "lint", "--strict", K8S)
    run(HELM, "package", K8S, "--destination", tmp_path)
    (packed,) = tmp_path.glob("clipserve-*.tgz")
    values = values_of(BUILDS["cpu around"])[0]
    assert rendered(values, tmp_path, chart=packed) == rendered(values, tmp_path)


def test_the_commands_of_its_page_are_of_releases_that_follow_each_other(tmp_path: Path) -> None:
    """Blue begins as what ran before, and green has what blue has."""
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    releases: dict[str, list[dict[str, Object]]] = {}
    for line in re.findall(r"^helm upgrade .*", PAGE, re.MULTILINE):
        words = [word for word in shlex.split(line)[2:] if word not in ("--install", "--wait")]
        made = run(
            HELM, "template", *(str(K8S) if word == "deploy/k8s" else word for word in words), cwd=tmp_path
        )
        releases.setdefault(words[0], []).append(compared(parsed(made)))
    first, one, again, *served = releases["clipserve"]
    assert "Deployment/clipserve" in first
    assert one == again
    assert [each["Service/clipserve"]["spec"]["selector"]["clipserve/color"] for each in served] == [
        "blue",
        "green",
    ]
    (blue,), (green,) = releases["clipserve-blue"], releases["clipserve-green"]
    assert blue.keys() | served[0].keys() == {_colored(name, served[0]) for name in one}
    assert {name.replace("green", "blue") for name in green} == blue.keys()
    run(HELM, "template", "any", K8S, "-n", "clipserve", "-f", tmp_path / "gpu.yaml")


def _colored(name: str, shared: dict[str, Object]) -> str:
    return name if name in shared else f"{name}-blue"


def _containers(objects: list[Object]) -> list[dict[str, Any]]:
    templates = [each["spec"]["template"]["spec"] for each in of_kind(objects, "Deployment")]
    return [one for each in templates for one in (*each["containers"], *each.get("initContainers", []))]
