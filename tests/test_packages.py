"""What is declared is pinned and explained, and all distributions belong together."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clipserve
import clipserve_models
from tests.support.process import ROOT


def load(folder: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))


def lists(folder: str) -> dict[str, list[str]]:
    """The lists of requirements: dependencies, extras and groups."""
    told = load(folder)
    project = told.get("project", {})
    extras, groups = project.get("optional-dependencies", {}), told.get("dependency-groups", {})
    return {"dependencies": project.get("dependencies", []), **extras, **groups}


def names(folder: str) -> set[str]:
    return {Requirement(line).name for line in chain(*lists(folder).values())}


def test_every_dependency_has_a_line_that_says_why() -> None:
    page = (ROOT / "docs/decisions/dependencies.md").read_text()
    told = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.+?) \| ", page, re.MULTILINE)))
    assert {name for name in told if name[0] != "@"} == names("") | names("service") | names("models")


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("dev", "dependencies server cpu heif mcp openvino tracing video dev build deploy dist site"),
        ("service", "dependencies server cpu"),
        ("image-cpu", "dependencies server cpu heif openvino tracing"),
        ("image-gpu", "dependencies server gpu heif tracing"),
        ("build", "build"),
        ("sbom", "sbom"),
    ],
)
def test_a_lock_file_pins_what_pyproject_asks_for(lock: str, wanted: str) -> None:
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    assert "://" not in text
    pins = {canonicalize_name(name): pin for name, pin in re.findall(r"(?m)^([\w.-]+)==([\w.]+)", text)}
    every = {**lists("service"), **load("")["dependency-groups"]}
    for asked in (Requirement(line) for name in wanted.split() for line in every[name]):
        if asked.name == "clipserve-models":  # of this checkout: not pinned, and its dependencies are
            own = {canonicalize_name(Requirement(each).name) for each in lists("models")["dependencies"]}
            assert own - {"clipserve-core"} <= pins.keys(), "run make lock"
        else:
            assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), f"{asked}: run make lock"


def test_all_distributions_have_one_version() -> None:
    own = f"=={clipserve.__version__}"
    assert clipserve_models.__version__ == clipserve.__version__
    assert f"clipserve-core[server]{own}" in lists("models")["dependencies"]
    cpu, gpu = ({Requirement(line).name for line in lists("service")[extra]} for extra in ("cpu", "gpu"))
    # Both have the same files, so no distribution may bring the two.
    assert (cpu - gpu, gpu - cpu) == ({"onnxruntime"}, {"onnxruntime-gpu"})
    assert "onnxruntime" not in {Requirement(line).name for line in lists("service")["dependencies"]}
    for extra, name in (("cpu", "clipserve"), ("gpu", "clipserve-gpu")):
        assert f"clipserve-models{own}" in lists("service")[extra]
        project = load(f"service/distributions/{name}")["project"]
        assert f"=={project['version']}" == own
        assert project["dependencies"] == [f"clipserve-core[server,{extra}]{own}"]
