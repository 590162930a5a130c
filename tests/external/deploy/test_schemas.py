"""Every object has the fields that Kubernetes and the operators know, and no others."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path

import pytest
from kubernetes_validate import utils

from tools.manifests import CUSTOM, TOOLS, Object, of_kind, run, title

# It would read a megabyte of definitions for each object.
utils.schema_contents = functools.cache(utils.schema_contents)

# The oldest that the chart is for, and one before image volumes, which 1.35 has by default. Then that one, and the
# newest whose schemas are there.
OLD_VERSIONS = ("1.30", "1.33")
VERSIONS = ("1.35", "1.37")


@pytest.fixture(scope="module")
def distinct(objects: dict[str, list[Object]]) -> list[Object]:
    """Each object once: most are the same in many renderings."""
    every = (each for all_of in objects.values() for each in all_of)
    return list({json.dumps(each, sort_keys=True): each for each in every}.values())


def test_kubernetes_knows_every_field(distinct: list[Object]) -> None:
    known = [each for each in distinct if each["kind"] not in CUSTOM]
    old = [each for each in known if not _has_image_volume(each)]
    assert len(old) < len(known)
    validate(old, OLD_VERSIONS)
    validate(known, VERSIONS)


def test_the_operators_know_every_field(distinct: list[Object], tmp_path: Path) -> None:
    found = of_kind(distinct, *CUSTOM)
    assert {each["kind"] for each in found} == set(CUSTOM)
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(found))
    run("node", Path(__file__).with_name("custom_resources.cjs"), TOOLS, file)


def validate(objects: list[Object], versions: tuple[str, ...]) -> None:
    """Raises AssertionError with what Kubernetes would refuse."""
    found = []
    for each, version in itertools.product(objects, versions):
        try:
            utils.validate(each, version, strict=True)
        except utils.ValidationError as error:
            found.append(f"{title(each)} ({version}): {'.'.join(map(str, error.path))}: {error.message}")
    assert found == []


def _has_image_volume(one: Object) -> bool:
    volumes = one["spec"].get("template", {}).get("spec", {}).get("volumes", []) if "spec" in one else []
    return any("image" in volume for volume in volumes)
