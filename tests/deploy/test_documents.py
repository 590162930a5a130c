"""The documents of deploy/k8s name what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from clipserve import __version__
from clipserve.settings import Settings
from tests.deploy.builds import COMPONENTS, KEY, NEEDS, OVERLAYS
from tests.deploy.manifests import K8S

FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), *(f"components/{name}" for name in COMPONENTS)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_explains_itself_in_a_few_lines(folder: str) -> None:
    lines = (K8S / folder / "README.md").read_text().splitlines()
    assert lines[0] == f"# {folder.partition('/')[2]}"
    assert len(lines) <= 20


def test_the_overview_has_every_folder_and_no_other() -> None:
    linked = set(re.findall(r"\]\((.+?)/README\.md\)", (K8S / "README.md").read_text()))
    assert linked == set(FOLDERS)


def test_the_overview_says_what_a_component_needs() -> None:
    rows = re.findall(
        r"^\| \[(.+?)\]\(components/.* \| (.*?) ?\|$", (K8S / "README.md").read_text(), re.MULTILINE
    )
    needed = dict(rows)
    assert needed.keys() == set(COMPONENTS)
    for part, others in NEEDS.items():
        assert all(f"`{other}`" in needed[part] for other in others), part
    (since,) = re.findall(r"Kubernetes 1\.\d+", (K8S / "components/model-image-volume/README.md").read_text())
    assert needed["model-image-volume"] == since


def test_the_documents_name_settings_that_exist() -> None:
    names = {f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields}
    for path in K8S.rglob("README.md"):
        told = set(re.findall(r"`(CLIPSERVE_\w+)", path.read_text()))
        assert told <= names, path


def test_everything_is_applied_by_the_server() -> None:
    """Else an apply that leaves the number of pods to an autoscaler would set it to 1."""
    told = [line for path in K8S.parent.rglob("*.md") for line in path.read_text().splitlines()]
    applies = [line for line in told if "kubectl apply " in line]
    assert len(applies) > 10
    assert not [line for line in applies if "kubectl apply --server-side " not in line]


def test_manifests_run_this_version_and_documents_name_none_before_it() -> None:
    for path in K8S.rglob("kustomization.yaml"):
        images = {
            each["name"]: each.get("newTag") for each in yaml.safe_load(path.read_text()).get("images", [])
        }
        assert images.get("clipserve", __version__).removesuffix("-gpu") == __version__, path
    for path in (*K8S.rglob("*.md"), K8S.parents[1] / "docs/kubernetes-gpu.md"):
        named = re.findall(r"(?:clipserve:|\?ref=v|/version=)(\d[\d.]*\d)", path.read_text())
        assert all(Version(version) >= Version(__version__) for version in named), path


def test_the_chart_is_of_this_version_and_for_the_oldest_kubernetes_that_the_page_names() -> None:
    chart = yaml.safe_load((K8S / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    (oldest,) = re.findall(r"You need Kubernetes (1\.\d+) or newer", (K8S / "README.md").read_text())
    assert chart["kubeVersion"] == f">={oldest}.0-0"


def test_plans_are_built_and_served_by_images_of_the_month_in_their_key() -> None:
    component = K8S / "components" / "tensorrt"
    tags = {
        each["newTag"]
        for path in (component / "plans", K8S / "base" / "triton")
        for each in yaml.safe_load((path / "kustomization.yaml").read_text())["images"]
        if each["name"] in ("tensorrt", "tritonserver")
    }
    assert tags == {f"{KEY['TENSORRT']}-py3"}
    for name, value in KEY.items():
        assert f"--from-literal={name}={value}" in (component / "README.md").read_text()


def test_the_steps_to_two_colors_leave_what_is_no_image_and_no_number_of_pods(tmp_path: Path) -> None:
    """An image may have a digest in place of a tag, and stand before or behind anything else."""
    lines = re.findall(r"^sed -i '.+ kustomization.yaml$", (K8S / "README.md").read_text(), re.MULTILINE)
    assert len([line for line in lines if "/d;" in line]) == 2
    images = "images:\n- digest: sha256:aa\n  name: clipserve\n"
    replicas = "replicas:\n- count: 3\n  name: clipserve\n"
    stays = "components:\n- k8s/components/keys\n"
    for text in (
        images + stays,
        replicas + images + stays,
        stays + images + replicas,
        images + replicas + stays,
    ):
        (tmp_path / "kustomization.yaml").write_text(text)
        for line in lines:
            subprocess.run(["bash", "-ec", line], cwd=tmp_path, check=True)
        assert (tmp_path / "kustomization.yaml").read_text() == stays
