"""What the service and the makers of artifacts import is installed where they run, not only beside tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from tests.process import ROOT

MODELS = tomllib.loads((ROOT / "models/pyproject.toml").read_text("utf-8"))["project"]
LOCKED = (
    "service",
    "service-gpu",
    "heif",
    "mcp",
    "openvino",
    "parquet",
    "tracing",
    "video",
)  # requirements/*.txt


def plain(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ]", requirement)[0]).lower()


def locked(name: str) -> set[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    return {plain(line) for line in lines if re.match(r"\w.*==", line)}


def imported(source: str) -> set[str]:
    names = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - {*sys.stdlib_module_names, "clipserve", "clipserve_models"}


@pytest.mark.parametrize("part", ["service", "models"])
def test_no_import_is_of_a_package_that_only_the_tests_install(part: str) -> None:
    elsewhere = set[str]().union(*map(locked, LOCKED))
    if part == "models":
        elsewhere |= {plain(name) for extra in MODELS["optional-dependencies"].values() for name in extra}
    only_tests = locked("dev") - elsewhere
    assert "httpx" in only_tests
    makers = packages_distributions()
    found = [
        f"{path}: {name}"
        for path in sorted((ROOT / part).glob("clipserve*/**/*.py"))
        for name in sorted(imported(path.read_text("utf-8")))
        if {*map(plain, makers.get(name, [name]))} & only_tests
    ]
    assert not found, "\n".join(found)


def test_modules_that_need_no_test_tools_start_without_them() -> None:
    modules = ", ".join(
        f"clipserve_models.{name}" for name in ("evaluate", "probe", "variants.samples", "variants.making")
    )
    program = f"import sys; sys.modules['httpx'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_stubs_of_the_contract_run_with_the_lowest_versions_that_are_allowed() -> None:
    """They refuse older ones than those that they were made with."""
    project = tomllib.loads((ROOT / "service/pyproject.toml").read_text("utf-8"))["project"]
    server = project["optional-dependencies"]["server"]
    lowest = {each.name: str(each.specifier) for each in map(Requirement, server)}
    stubs = "".join(path.read_text("utf-8") for path in (ROOT / "service/clipserve/v1").glob("*_pb2*.py"))
    (grpcio,) = re.findall(r"^GRPC_GENERATED_VERSION = '([\d.]+)'", stubs, re.MULTILINE)
    (protobuf,) = re.findall(r"Domain\.PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+),", stubs)
    assert (lowest["grpcio"], lowest["protobuf"]) == (f">={grpcio}", f">={'.'.join(protobuf)}")
