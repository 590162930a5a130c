"""Every object has the fields that Kubernetes and the operators know, and no others; checkov finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.deploy.builds import LARGEST
from tests.deploy.manifests import CUSTOM, TOOLS, Object, of_kind, run, title

# The oldest that the manifests are for, and one before image volumes, which 1.35 has by default; the README of that
# component says so. Then that one, and the newest whose schemas are there.
OLD_VERSIONS = ("1.30", "1.33")
VERSIONS = ("1.35", "1.37")


@pytest.fixture(scope="module")
def distinct(objects: dict[str, list[Object]]) -> list[Object]:
    """Each object once: most are the same in many builds, and those of the colors but for the color."""
    every = (each for all_of in objects.values() for each in all_of)
    return list({json.dumps(each, sort_keys=True).replace("green", "blue"): each for each in every}.values())


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
