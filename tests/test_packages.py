"""What the service and the makers of artifacts import is declared where they are installed from."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.process import ROOT

# Modules of a declared package that is not installed here, or that brings them as part of itself.
PARTS = {
    "open_clip": "open-clip-torch",
    "timm": "open-clip-torch",
    "pydantic_core": "pydantic",
    "yarl": "aiohttp",
}
# Of mypy, and of the Triton that runs the file.
NOBODYS = {"_typeshed", "triton_python_backend_utils"}


def project(part: str) -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / part / "pyproject.toml").read_text("utf-8"))["project"])


def declared(part: str) -> set[str]:
    lists = [project(part)["dependencies"], *project(part)["optional-dependencies"].values()]
    return {canonicalize_name(Requirement(line).name) for each in lists for line in each}


def imported(source: str) -> set[str]:
    names = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - {*sys.stdlib_module_names, "clipserve", "clipserve_models"}


@pytest.mark.parametrize("part", ["service", "models"])
def test_every_import_is_of_a_declared_package(part: str) -> None:
    """Not of one that only the tools of developers bring."""
    known = declared("service") | declared(part)
    makers = packages_distributions()
    found = [
        f"{path}: {name}"
        for path in sorted((ROOT / part).glob("clipserve*/**/*.py"))
        for name in sorted(imported(path.read_text("utf-8")) - NOBODYS)
        if not {canonicalize_name(PARTS.get(name, each)) for each in makers.get(name, [name])} & known
    ]
    assert found == []


def test_the_stubs_of_the_contract_run_with_the_lowest_versions_that_are_allowed() -> None:
    """They refuse older ones than those that they were made with."""
    server = project("service")["optional-dependencies"]["server"]
    lowest = {each.name: str(each.specifier) for each in map(Requirement, server)}
    stubs = "".join(path.read_text("utf-8") for path in (ROOT / "service/clipserve/v1").glob("*_pb2*.py"))
    (grpcio,) = re.findall(r"^GRPC_GENERATED_VERSION = '([\d.]+)'", stubs, re.MULTILINE)
    (protobuf,) = re.findall(r"Domain\.PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+),", stubs)
    assert (lowest["grpcio"], lowest["protobuf"]) == (f">={grpcio}", f">={'.'.join(protobuf)}")
