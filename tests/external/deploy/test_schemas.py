"""Every object has the fields that Kubernetes and the operators know, and no others; checkov finds nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import CUSTOM, TOOLS, Object, of_kind, run

# The oldest that the chart is for, and one before image volumes, which 1.35 has by default. Then that one, and the
# newest whose schemas are there.
OLD_VERSIONS = ("1.30", "1.33")
VERSIONS = ("1.35", "1.37")
# What checkov asks for and is not so, with the reason.
SKIPPED = {
    "CKV_K8S_11": "a limit of CPU stops threads in the middle of a call; they are as many as the request",
    "CKV_K8S_15": "a version's tag does not change, so a node need not ask the registry at every start",
    "CKV_K8S_43": "the digest is that of your registry: image.digest",
    "CKV_K8S_35": "settings are variables: a URL with a password has no file, nor has the token of the hub",
}


@pytest.fixture(scope="module")
def distinct(objects: dict[str, list[Object]]) -> list[Object]:
    """Each object once: most are the same in many renderings."""
    every = (each for all_of in objects.values() for each in all_of)
    return list({json.dumps(each, sort_keys=True): each for each in every}.values())


def test_kubernetes_knows_every_field(distinct: list[Object], tmp_path: Path) -> None:
    known = [each for each in distinct if each["kind"] not in CUSTOM]
    old = [each for each in known if not _has_image_volume(each)]
    assert len(old) < len(known)
    validate(old, OLD_VERSIONS, tmp_path)
    validate(known, VERSIONS, tmp_path)


def test_the_operators_know_every_field(distinct: list[Object], tmp_path: Path) -> None:
    found = of_kind(distinct, *CUSTOM)
    assert {each["kind"] for each in found} == set(CUSTOM)
    validate_custom(found, tmp_path)


def test_checkov_finds_nothing_but_what_is_explained_here(
    objects: dict[str, list[Object]], tmp_path: Path
) -> None:
    file = tmp_path / "objects.yaml"
    lasting = [
        each
        for each in objects["everything"]
        if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    ]
    file.write_text(yaml.safe_dump_all(lasting))
    options = ("--framework", "kubernetes", "--skip-download", "--compact", "--quiet")
    run(TOOLS / "bin" / "checkov", *options, "--skip-check", ",".join(SKIPPED), "--file", file)


def validate(objects: list[Object], versions: tuple[str, ...], scratch: Path) -> None:
    """Raises AssertionError with what Kubernetes would refuse, or with a kind that has no schema."""
    file = scratch / "objects.json"
    file.write_text(json.dumps(objects))
    script = Path(__file__).with_name("kubernetes_fields.py")
    run(TOOLS / "bin" / "python", script, file, *versions)


def validate_custom(objects: list[Object], scratch: Path) -> None:
    """Raises AssertionError with what an operator's definitions would refuse."""
    file = scratch / "objects.json"
    file.write_text(json.dumps(objects))
    run("node", Path(__file__).with_name("custom_resources.cjs"), TOOLS, file)


def _has_image_volume(one: Object) -> bool:
    volumes = one["spec"].get("template", {}).get("spec", {}).get("volumes", []) if "spec" in one else []
    return any("image" in volume for volume in volumes)
