"""The chart renders what kustomize builds, from the same files, and refuses what nobody can mean."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.builds import BUILDS, COMPONENTS, OVERLAYS, Build, build
from tests.deploy.chart import HELM, Values, compared, rendered, values_of
from tests.deploy.manifests import K8S, Object, of_kind, parsed, run, title
from tests.external.deploy.test_components import edited

PAGE = (K8S / "CHART.md").read_text()
OPTIONS: dict[str, dict[str, list[str]]] = yaml.safe_load((K8S / "options.yaml").read_text())
SCHEMA = json.loads((K8S / "values.schema.json").read_text())
_OF_COMPONENTS = SCHEMA["properties"]["components"]["properties"]

# Component -> the values that its page's edits are.
EDITS: dict[str, Values] = {
    "autoscaling": {"prometheus": "http://prometheus.mine:9090", "min": 6},
    "autoscaling-cpu": {"min": 6},
    "edge-gateway": {
        "class": "eg",
        "host": "clip.example.org",
        "grpcHost": "grpc.clip.example.org",
        "issuer": "YOUR-ISSUER",
    },
    "edge-ingress": {"class": "traefik", "host": "clip.example.org", "issuer": "YOUR-ISSUER"},
    "edge-loadbalancer": {"sourceRanges": ["10.0.0.0/8", "203.0.113.0/24"]},
    "image-hosts": {"hosts": "images.example.com"},
    "model-pvc": {"with": ["download"], "model": "openai/clip-vit-large-patch14"},
    "monitoring": {"namespace": "YOUR-NAMESPACE", "runbook": "https://YOUR-HOST/clipserve/README.md"},
}

_KEYED = {"keys": True}
REFUSED: list[tuple[Values, str]] = [
    ({"overlay": "tpu"}, "at '/overlay': value must be one of 'cpu', 'gpu'"),
    ({"colour": "blue"}, "additional properties 'colour' not allowed"),
    ({"color": "Blue"}, "at '/color': 'Blue' does not match pattern"),
    ({"color": "blue", "served": "blue"}, "not both"),
    ({"images": {"triton": "a"}}, "at '/images': additional properties 'triton' not allowed"),
    ({"settings": {"MAX_QUEUE_SECONDS": 2}}, "additional properties 'MAX_QUEUE_SECONDS' not allowed"),
    ({"replicas": {"clipserve": "two"}}, "at '/replicas/clipserve': got string, want integer"),
    ({"replicas": {"triton": 1}}, "replicas: no object of this release is"),
    ({"components": {"key": True}}, "at '/components': additional properties 'key' not allowed"),
    ({"components": {"keys": {"file": "a"}}}, "additional properties 'file' not allowed"),
    ({"components": {"edge-ingress": {"host": "a b"}}}, "does not match pattern"),
    ({"components": {"tensorrt": {"gpu": "L4"}}}, "missing properties 'tensorrt', 'model'"),
    ({"components": {"edge-loadbalancer": True}}, "requests-need-a-key failed"),
    ({"components": {"autoscaling": _KEYED, "monitoring": True}}, "additional properties 'keys'"),
    ({"components": {"autoscaling": True, "autoscaling-cpu": True}}, "/spec/replicas: it is not there"),
    (
        {"components": {"autoscaling-cpu": True}, "replicas": {"clipserve": 3}},
        "the autoscaler sets this number",
    ),
    ({"components": {"autoscaling": True}, "replicas": {"clipserve": 0}}, "the autoscaler sets this number"),
    ({"patches": [{"patch": [{"op": "add", "path": "/a"}]}]}, "patches: operations need a target"),
    ({"patches": [{"target": {"kind": "Job"}, "patch": [{"op": "copy"}]}]}, "no object of this release"),
    (
        {"patches": [{"target": {"kind": "Servis"}, "patch": []}]},
        'no object of this release is {"kind":"Servis"}',
    ),
]


@pytest.mark.parametrize("name", BUILDS)
def test_helm_renders_what_kustomize_builds(
    name: str, objects: dict[str, list[Object]], tmp_path: Path
) -> None:
    namespace = dict(BUILDS[name].settings).get("namespace", "clipserve")
    releases = [rendered(values, tmp_path, namespace) for values in values_of(BUILDS[name])]
    assert compared([each for release in releases for each in release]) == compared(objects[name])


@pytest.mark.parametrize("component", EDITS)
def test_values_of_a_component_are_the_edits_of_its_page(component: str, tmp_path: Path) -> None:
    keys = _KEYED if component == "edge-loadbalancer" else {}
    made = rendered({"components": {component: EDITS[component], **keys}}, tmp_path)
    assert compared(made) == compared(edited(component, tmp_path))


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


@pytest.mark.parametrize("component", OPTIONS)
def test_each_value_of_a_component_reaches_its_fields(component: str, tmp_path: Path) -> None:
    values = _sentinels(component)
    overlay = "gpu" if component == "tensorrt" else "cpu"
    made = {
        title(each): each
        for each in rendered({"overlay": overlay, "components": _KEYED | {component: values}}, tmp_path)
    }
    for option, fields in OPTIONS[component].items():
        for name, path in (field.split(" ") for field in fields):
            (found,) = (
                one for known, one in made.items() if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", known)
            )
            for step in path.strip("/").split("/"):
                found = found[int(step) if isinstance(found, list) else step.replace("~1", "/")]
            assert found == values[option], (option, path)


def test_the_schema_has_the_folders_and_the_values_that_there_are() -> None:
    assert _OF_COMPONENTS.keys() == set(COMPONENTS)
    assert set(SCHEMA["properties"]["overlay"]["enum"]) == {
        each for each in OVERLAYS if "blue-green" not in each
    }
    for component, schema in _OF_COMPONENTS.items():
        known = set(schema.get("properties", {})) - {"with", *schema.get("required", [])}
        assert known == set(OPTIONS.get(component, {})), component
        for beside in schema.get("properties", {}).get("with", {}).get("items", {}).get("enum", []):
            assert (K8S / "components" / component / beside / "kustomization.yaml").is_file()
    written = yaml.safe_load((K8S / "values.yaml").read_text())
    assert written.keys() == SCHEMA["properties"].keys() - {"global"}


def test_a_model_as_an_image_is_refused_where_kubernetes_has_no_such_volumes(tmp_path: Path) -> None:
    (since,) = re.findall(
        r"needs Kubernetes (1\.\d+)", (K8S / "components/model-image-volume/README.md").read_text()
    )
    values = tmp_path / "values.yaml"
    values.write_text("components: {model-image-volume: true}")
    render = (HELM, "template", "any", K8S, "--values", values, "--kube-version")
    run(*render, f"{since}.0")
    with pytest.raises(AssertionError, match=f"needs Kubernetes {since}, and the cluster has v1.34.9"):
        run(*render, "v1.34.9-eks-1")


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_what_nobody_can_mean_is_refused(values: Values, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as refused:
        rendered(values, tmp_path)
    assert message in str(refused.value)


def test_the_switch_changes_where_services_lead_and_nothing_else(tmp_path: Path) -> None:
    both = _KEYED | {"edge-loadbalancer": True, "redis": True}
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


def _sentinels(component: str) -> Values:
    """A value of each option of a component, as its schema has it."""
    schema = _OF_COMPONENTS[component]
    values: Values = {}
    for number, (name, field) in enumerate(schema["properties"].items()):
        kind = field.get("$ref", field.get("type")).rpartition("/")[2]
        some: dict[str, Any] = {
            "pods": number + 5,
            "size": f"{number + 1}Ti",
            "array": [f"10.{number}.0.0/16"],
        }
        some |= {
            "string": f"https://{number}",
            "host": f"h{number}",
            "label": f"l{number}",
            "text": f"t{number}",
        }
        values[name] = field["items"]["enum"] if "enum" in field.get("items", {}) else some[kind]
    return values
