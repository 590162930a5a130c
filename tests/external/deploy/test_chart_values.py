"""What the chart's values are: of components the edits of their pages, and nothing that nobody can mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.builds import COMPONENTS, OVERLAYS, overlay_of
from tests.deploy.chart import HELM, Values, compared, rendered
from tests.deploy.manifests import K8S, run, title
from tests.external.deploy.test_components import edited

OPTIONS: dict[str, dict[str, list[str]]] = yaml.safe_load((K8S / "options.yaml").read_text())
SCHEMA = json.loads((K8S / "values.schema.json").read_text())
_OF_COMPONENTS = SCHEMA["properties"]["components"]["properties"]

# Component -> the values that its page's edits are.
EDITS: dict[str, Values] = {
    "autoscaling": {"prometheus": "http://prometheus.mine:9090", "min": 6},
    "autoscaling-cpu": {"min": 6},
    "autoscaling-triton": {"prometheus": "http://prometheus.mine:9090", "max": 4},
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
    "object-storage": {"repository": "s3://YOUR-BUCKET/repository"},
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
    ({"components": {"edge-gateway": True, "grpc-tls": True}}, "backendRefs/0/port failed"),
    ({"components": {"autoscaling": _KEYED, "monitoring": True}}, "additional properties 'keys'"),
    ({"components": {"autoscaling": True, "autoscaling-cpu": True}}, "/spec/replicas: it is not there"),
    (
        {"components": {"autoscaling-cpu": True}, "replicas": {"clipserve": 3}},
        "the autoscaler sets this number",
    ),
    ({"components": {"autoscaling": True}, "replicas": {"clipserve": 0}}, "the autoscaler sets this number"),
    (
        {"overlay": "gpu", "components": {"autoscaling-triton": True}, "replicas": {"triton": 3}},
        "replicas.triton: the autoscaler sets this number",
    ),
    ({"patches": [{"patch": [{"op": "add", "path": "/a"}]}]}, "patches: operations need a target"),
    ({"patches": [{"target": {"kind": "Job"}, "patch": [{"op": "copy"}]}]}, "no object of this release"),
    (
        {"patches": [{"target": {"kind": "Servis"}, "patch": []}]},
        'no object of this release is {"kind":"Servis"}',
    ),
]


@pytest.mark.parametrize("component", EDITS)
def test_values_of_a_component_are_the_edits_of_its_page(component: str, tmp_path: Path) -> None:
    keys = _KEYED if component == "edge-loadbalancer" else {}
    values = {"overlay": overlay_of(component), "components": {component: EDITS[component], **keys}}
    made = rendered(values, tmp_path)
    assert compared(made) == compared(edited(component, tmp_path))


@pytest.mark.parametrize("component", OPTIONS)
def test_each_value_of_a_component_reaches_its_fields(component: str, tmp_path: Path) -> None:
    values = _sentinels(component)
    parts = {"overlay": overlay_of(component), "components": _KEYED | {component: values}}
    made = {title(each): each for each in rendered(parts, tmp_path)}
    for option, fields in OPTIONS[component].items():
        for name, path, *before in (field.split(" ") for field in fields):
            (found,) = (
                one for known, one in made.items() if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", known)
            )
            for step in path.strip("/").split("/"):
                found = found[int(step) if isinstance(found, list) else step.replace("~1", "/")]
            assert found == (f"{before[0]}{values[option]}" if before else values[option]), (option, path)


def test_the_schema_has_the_folders_and_the_values_that_there_are() -> None:
    assert _OF_COMPONENTS.keys() == set(COMPONENTS)
    assert set(SCHEMA["properties"]["overlay"]["enum"]) == {
        each for each in OVERLAYS if "blue-green" not in each
    }
    for component, schema in _OF_COMPONENTS.items():
        known = set(schema.get("properties", {})) - {"with", "slice", *schema.get("required", [])}
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
