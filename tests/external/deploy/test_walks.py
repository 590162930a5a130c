"""The commands of the pages on Kubernetes, one by one: edits for real, applies as kustomize builds them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clipserve import __version__
from tests.deploy.cluster import Cluster, built_of
from tests.deploy.manifests import K8S, Object, gateways, of_kind, pods, selects, settings_of
from tests.docs.markdown import ROOT

README = (K8S / "README.md").read_text()
_TENSORRT = (K8S / "components/tensorrt/README.md").read_text()
PLANS = re.findall(r"^ {4}(ku.+)$", _TENSORRT, re.MULTILINE)
_ON_GPUS = (
    "mkdir installation",
    "cp -R deploy/k8s installation",
    "cd installation",
    "kustomize create --namespace clipserve --resources k8s/overlays/gpu",
)
WITH_GPUS = (ROOT / "docs/kubernetes-gpu.md").read_text()
_NOT_RUN = ("docker", "helm ", "kind", "make", "clipserve ", ".venv-export", "curl", "pod=")  # not run here


def page(*lines: str) -> str:
    return "\n".join(["## One", "```sh", *lines, "```"])


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Heading and line, in their order."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for block in re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                yield section.partition("\n")[0], line


def walk(text: str, folder: Path, applied: Callable[[Path], None] = lambda _: None) -> Cluster:
    """Raises AssertionError at the first command that does something else than is written, or harm.

    No command may edit what an upgrade replaces. `applied` gets the folder of each `kubectl apply -k .`.
    """
    cluster, copied = Cluster(), folder / "installation" / "k8s"
    shutil.copytree(K8S, folder / "deploy" / "k8s")
    for heading, command in commands(text):
        line, _, told = command.partition(" # ")
        if line.startswith("cd "):
            folder = folder / line.removeprefix("cd ")
        elif line.startswith("kubectl "):
            changed = cluster.kubectl(line.removeprefix("kubectl "), folder)
            faults = list(cluster.faults())
            assert not faults, f"{heading}: {line}: {faults}"
            if " apply " in line and " -k " in line:
                assert told in (changed, "new: everything"), f"{heading}: {line}"
                applied(folder)
        elif not line.startswith(_NOT_RUN):
            done = subprocess.run(["bash", "-ec", line], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            assert contents(copied) in ({}, PRODUCT), f"{line}: edits what an upgrade replaces"
    return cluster


def contents(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}


# What the next version of the product has in another way, and what clients see of both.
_NEXT = {
    f"newTag: {__version__}": "newTag: 9.9.9",
    "replicas: 2": "replicas: 5",
    "/app/demo": "/app/other",
    "model:v1": "model:v9",
}
_DEFAULTS = {f"clipserve:{__version__}": "clipserve:9.9.9", 2: 5, "/app/demo": "/app/other"}


PRODUCT = contents(K8S)


def test_each_apply_changes_what_the_readme_says_and_an_upgrade_after_it_nothing_that_is_set(
    tmp_path: Path,
) -> None:
    """Nobody is harmed, and at the end all is removed. The next version has other defaults."""
    seen: list[dict[str, set[Any]]] = []

    def upgraded(installation: Path) -> None:
        here = shutil.copytree(installation, tmp_path / str(len(seen)))
        before = served(built_of(here))
        for path in (here / "k8s").rglob("*.yaml"):
            text = path.read_text()
            for old, new in _NEXT.items():
                text = text.replace(old, new)
            path.write_text(text)
        moved = {name: {_DEFAULTS.get(one, one) for one in values} for name, values in before.items()}
        assert served(built_of(here)) == moved, f"apply {len(seen)}"
        seen.append(before)

    assert not walk(README, tmp_path / "walked", upgraded).objects
    assert len(seen) > 12
    assert seen[0]["image"] == {f"clipserve:{__version__}"}
    assert seen[-1] == {
        "selector": {"green"},
        "image": {f"YOUR.REGISTRY/clipserve:{__version__}"},
        "model": {"YOUR.REGISTRY/clipserve-model:v2"},
        "replicas": {3},
        "keys": {"/etc/clipserve/keys/keys"},
    }


def served(objects: list[Object]) -> dict[str, set[Any]]:
    """What clients see of an installation."""
    services = [each["spec"]["selector"] for each in of_kind(objects, "Service")]
    found = [
        (each, container)
        for each, container in gateways(objects)
        if all(selects(selector, each.labels) for selector in services)
    ]
    models = {settings_of(container, objects)["CLIPSERVE_MODELS"] for _, container in found}
    volumes = [volume for each, _ in found for volume in each.spec["volumes"] if "image" in volume]
    return {
        "selector": {selector.get("clipserve/color") for selector in services},
        "image": {container["image"] for _, container in found},
        "model": {volume["image"]["reference"] for volume in volumes} or models,
        "replicas": {each.owner["spec"].get("replicas") for each, _ in found},
        "keys": {settings_of(container, objects).get("CLIPSERVE_KEYS_FILE") for _, container in found},
    }


def test_a_model_of_ones_own_comes_onto_gpus_as_its_page_says(tmp_path: Path) -> None:
    cluster = walk(WITH_GPUS, tmp_path)
    gateway, triton = (pod for pod in pods([*cluster.objects.values()]) if pod.owner["kind"] == "Deployment")
    assert [each.owner["spec"]["replicas"] for each in (gateway, triton)] == [4, 1]
    assert gateway.spec["containers"][0]["image"] == f"YOUR.REGISTRY/clipserve:{__version__}"
    assert gateway.spec["containers"][0]["resources"]["requests"]["cpu"] == "3"
    for container in (gateway.spec["containers"][0], triton.spec["initContainers"][0]):
        assert settings_of(container, [*cluster.objects.values()])["CLIPSERVE_MODELS"] == "/models/model"
        assert "models" in {mount["name"] for mount in container["volumeMounts"]}


def test_without_rights_on_the_cluster_nothing_of_it_is_applied(tmp_path: Path) -> None:
    (patch,) = re.findall(r"^  (kustomize edit add patch .+)$", README, re.MULTILINE)
    cluster = walk(page(*_ON_GPUS, patch, *PLANS), tmp_path)
    of_it = {"PriorityClass/clipserve-plans", "Namespace/clipserve"}
    applied = [each for name, each in cluster.objects.items() if name not in of_it]
    assert {each["metadata"]["namespace"] for each in applied} == {"clipserve"}
    assert len(cluster.objects) - len(applied) == 1


def test_plans_are_built_once_and_an_upgrade_leaves_their_job_alone(tmp_path: Path) -> None:
    upgrade = (
        "kustomize edit set image clipserve=YOUR.REGISTRY/clipserve:0.2.0",
        "kubectl apply -k . # changed: Deployment/clipserve, Deployment/triton",
    )
    walk(page(*_ON_GPUS, *PLANS, *upgrade), tmp_path)


def test_a_job_that_failed_runs_again_with_what_it_lacked(tmp_path: Path) -> None:
    lacked = ("kustomize edit add component k8s/components/nvidia-runtime",)
    again = PLANS[PLANS.index("kustomize edit add resource k8s/components/tensorrt/plans") :]
    (delete,) = re.findall(r"`(kubectl -n clipserve delete job/plans)`", _TENSORRT)
    told = [line.replace("new: everything", "new: Job/plans; changed: Deployment/triton") for line in again]
    walk(page(*_ON_GPUS, *PLANS, delete, *lacked, *told), tmp_path)
