"""What the pages of components tell to edit, edited for real."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.deploy.builds import Build, build, overlay_of
from tests.deploy.manifests import K8S, Object, of_kind, parsed, run
from tests.deploy.rulebook import RULES

# Page -> its blocks of kustomize. Their other commands need a cluster. The page of `tensorrt` is for
# another overlay, and test_walks.py walks it.
EDITS = {
    page.parent.name: [
        re.sub(r"^kubectl .*\n", "", textwrap.dedent(block), flags=re.MULTILINE) for block in found
    ]
    for page in sorted((K8S / "components").glob("*/README.md"))
    if page.parent.name != "tensorrt"
    and (found := re.findall(r"(?<=\n\n) {4}(?:for .*; do )?kustomize .*\n(?: {4}.*\n)*", page.read_text()))
}


def edited(component: str, folder: Path) -> list[Object]:
    """An installation with a component, after the commands of the component's page."""
    shutil.copytree(K8S, folder / "k8s")
    resource = f"k8s/overlays/{overlay_of(component)}"
    (folder / "kustomization.yaml").write_text(f"namespace: clipserve\nresources: [{resource}]\n")
    add = f"kustomize edit add component k8s/components/{component}\n"
    blocks = EDITS[component]
    for block in blocks if any(add in block for block in blocks) else [add, *blocks]:
        done = subprocess.run(["bash", "-ec", block], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    return parsed(run("kustomize", "build", folder))


@pytest.mark.parametrize("component", EDITS)
def test_the_edits_of_a_page_lead_to_an_installation_that_keeps_every_rule(
    component: str, tmp_path: Path
) -> None:
    objects = edited(component, tmp_path)
    found = {rule.__name__: list(rule(objects)) for rule in RULES}
    assert not {rule: sentences for rule, sentences in found.items() if sentences}


@pytest.mark.parametrize("edge", ["edge-ingress", "edge-gateway"])
def test_the_authority_reaches_the_pod_that_proves_a_host(
    edge: str, objects: dict[str, list[Object]]
) -> None:
    (policy,) = (
        each
        for each in of_kind(objects[f"cpu+{edge}"], "NetworkPolicy")
        if "acme.cert-manager.io/http01-solver" in each["spec"]["podSelector"].get("matchLabels", {})
    )
    assert policy["spec"]["ingress"] == [{"ports": [{"port": 8089, "protocol": "TCP"}]}]


@pytest.mark.parametrize("components", [["edge-loadbalancer"], ["edge-loadbalancer", "keys"]])
def test_a_load_balancer_is_refused_without_keys_before_it(components: list[str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="requests-need-a-key failed"):
        build(Build("cpu", outside=tuple(components)), K8S, tmp_path)


def test_a_load_balancer_in_front_of_a_certificate_has_grpc_alone(objects: dict[str, list[Object]]) -> None:
    ports = {
        each["metadata"]["name"]: {port["name"]: port.get("appProtocol") for port in each["spec"]["ports"]}
        for each in of_kind(objects["cpu with tls"], "Service")
    }
    assert ports == {
        "clipserve": {"http": "http", "grpc": "https"},
        "clipserve-pods": {"grpc": "https"},
        "clipserve-edge": {"grpc": "https"},
    }


def test_grpc_with_a_certificate_is_refused_behind_a_gateway_that_sends_it_none(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="/spec/rules/0/backendRefs/0/port"):
        build(Build("cpu", outside=("edge-gateway", "grpc-tls")), K8S, tmp_path)


def test_all_alerts_lead_to_the_runbook_whose_address_an_operator_gives(tmp_path: Path) -> None:
    (rule,) = of_kind(edited("monitoring", tmp_path), "PrometheusRule")
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    assert {each["annotations"]["runbook_url"] for each in alerts} == {
        f"https://YOUR-HOST/clipserve/README.md#{each['alert'].lower()}" for each in alerts
    }


def test_grafana_finds_one_dashboard_by_its_label(tmp_path: Path) -> None:
    (dashboard,) = (
        each
        for each in of_kind(edited("monitoring", tmp_path), "ConfigMap")
        if "grafana_dashboard" in each["metadata"]["labels"]
    )
    assert dashboard["metadata"]["name"] == "clipserve-dashboard", "an upgrade replaces it"
    (text,) = dashboard["data"].values()
    assert json.loads(text)["uid"] == "clipserve"
