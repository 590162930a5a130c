"""Every object has the fields that Kubernetes and the operators know, and no others; checkov finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.builds import LARGEST
from tests.deploy.manifests import CUSTOM, TOOLS, Object, of_kind, run, title

pytestmark = pytest.mark.deploy

# The oldest that the manifests are for, two between, and the newest whose schemas are there.
VERSIONS = ("1.30", "1.33", "1.35", "1.37")
_IMAGE_VOLUMES = "1.35"  # the first in which they are on by default


@pytest.fixture(scope="module")
def distinct(objects: dict[str, list[Object]]) -> list[Object]:
    """Each object once: most are the same in many builds."""
    return list(
        {json.dumps(each, sort_keys=True): each for all_of in objects.values() for each in all_of}.values()
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str, distinct: list[Object], tmp_path: Path) -> None:
    known = [each for each in distinct if each["kind"] not in CUSTOM and not _too_new(each, version)]
    validate(known, version, tmp_path)


def test_an_unknown_field_is_found(distinct: list[Object], tmp_path: Path) -> None:
    service = next(each for each in distinct if each["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "selektor": {}}}
    with pytest.raises(AssertionError, match="selektor"):
        validate([wrong], VERSIONS[-1], tmp_path)


def test_the_operators_know_every_field(distinct: list[Object], tmp_path: Path) -> None:
    found = of_kind(distinct, *CUSTOM)
    assert {each["kind"] for each in found} == set(CUSTOM)
    validate_custom(found, tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("PodMonitor", {"podMetricsEndpoint": []}, "/spec/podMetricsEndpoint is unknown"),
        ("ScaledObject", {"fallback": {"failureThreshold": 3, "replica": 2}}, "/spec/fallback required"),
        (
            "PrometheusRule",
            {"groups": [{"name": "a", "rules": [{"alerts": "b", "expr": "1"}]}]},
            "alerts is unknown",
        ),
    ],
)
def test_an_unknown_field_of_an_operator_is_found(
    kind: str, change: dict[str, Any], message: str, distinct: list[Object], tmp_path: Path
) -> None:
    sound = of_kind(distinct, kind)[0]
    with pytest.raises(AssertionError, match=message):
        validate_custom([{**sound, "spec": {**sound["spec"], **change}}], tmp_path)


def test_checkov_finds_nothing_that_is_not_explained_in_place(built: dict[str, Path]) -> None:
    files = [argument for name in LARGEST for argument in ("--file", str(built[name]))]
    run(
        TOOLS / "bin" / "checkov",
        "--framework",
        "kubernetes",
        "--skip-download",
        "--compact",
        "--quiet",
        *files,
    )


def test_the_largest_builds_have_every_object(objects: dict[str, list[Object]]) -> None:
    """Checkov takes long, and sees these alone."""

    def titles(builds: Iterable[str]) -> set[str]:
        present = [each for name in builds for each in objects[name]]
        return {title(each) for each in present if each["kind"] not in ("ConfigMap", "Namespace")}

    assert titles(objects) == titles(LARGEST)


def validate(objects: list[Object], version: str, scratch: Path) -> None:
    """Raises AssertionError with what Kubernetes would refuse."""
    file = scratch / "objects.yaml"
    file.write_text(yaml.dump_all(objects, Dumper=yaml.CSafeDumper))
    # Its command warns where it has no schema: then nothing would be compared.
    said = run(TOOLS / "bin" / "kubernetes-validate", "--strict", "--quiet", "-k", version, file)
    assert not said, said


def validate_custom(objects: list[Object], scratch: Path) -> None:
    """Raises AssertionError with what an operator's definitions would refuse."""
    file = scratch / "objects.json"
    file.write_text(json.dumps(objects))
    run("node", Path(__file__).with_name("custom_resources.cjs"), TOOLS, file)


def _too_new(one: Object, version: str) -> bool:
    """Pods with an image volume are for later versions: the README of that component says so."""
    volumes = one["spec"].get("template", {}).get("spec", {}).get("volumes", []) if "spec" in one else []
    return any("image" in volume for volume in volumes) and version < _IMAGE_VOLUMES
