"""The documents say what the code does."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import clipserve
import clipserve_models
from clipserve import errors
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import ClipError, kinds
from clipserve.rest.errors import STATUS
from clipserve.rpc.errors import status_of as rpc_status
from clipserve.settings import Settings
from loadtests.__main__ import cli
from tests.docs.markdown import documents
from tests.tables import METRICS, SETTINGS, made, metrics_table, settings_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
API, SCORES = ((ROOT / f"docs/{name}.md").read_text() for name in ("api", "scores"))
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT, SERVICE, MODELS = (
    tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in ("", "service", "models")
)


def test_the_table_of_constants_shows_them_as_they_are() -> None:
    text = (ROOT / "docs/settings.md").read_text().partition("\n## Limits that are constants\n")[2]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \| .+ \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `")
    for name, value, place in rows:
        assert pkgutil.resolve_name(f"clipserve.{place}") == int(value.replace(",", "")), name


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def error_table() -> str:
    """Code, status and meaning of every error, the last as the tree in `clipserve.errors` has it."""
    kinds = {ClipError, *(kind for kind in vars(errors).values() if isinstance(kind, type))}
    kind_of = {kind.__name__: kind for kind in kinds if issubclass(kind, ClipError)}
    tree = re.findall(r"[├└]── (\w+) +(.+)", errors.__doc__ or "")
    tree.append(("ClipError", "a fault of the service; its log has the traceback, under the request id"))
    rows = ["| `code` | status | meaning |", "| --- | --- | --- |"]
    for name, meaning in tree:
        kind = kind_of[name]
        status = next((STATUS[each] for each in kind.__mro__ if each in STATUS), 500)
        rows.append(f"| `{kind.code}` | {int(status)} | {meaning} |")
    return "\n".join(rows)


def test_the_documentation_has_every_error_code_with_its_status() -> None:
    shown = API.partition("<!-- error codes -->\n")[2].partition("\n<!-- end of error codes -->")[0]
    assert shown == error_table(), f"replace the table in docs/api.md by:\n{error_table()}"


def grpc_statuses() -> str:
    """The status in gRPC of every error, with the codes that have it."""
    codes: dict[str, list[str]] = {}
    for kind in kinds():
        codes.setdefault(rpc_status(kind).name, []).append(f"`{kind.code}`")
    rows = ["| gRPC status | codes |", "| --- | --- |"]
    rows += [f"| {status} | {', '.join(names)} |" for status, names in sorted(codes.items())]
    return "\n".join(rows)


def test_the_documentation_has_the_status_in_grpc_of_every_code() -> None:
    shown = API.partition("<!-- grpc statuses -->\n")[2].partition("\n<!-- end of grpc statuses -->")[0]
    assert shown == grpc_statuses(), f"replace the table in docs/api.md by:\n{grpc_statuses()}"


@pytest.mark.parametrize(
    ("page", "table"),
    [(SETTINGS, settings_table), (METRICS, metrics_table)],
    ids=["settings", "metrics"],
)
def test_a_table_is_what_the_code_says(page: Path, table: Callable[[], str]) -> None:
    assert made(page) == table(), "write it anew with: make docs"


def template_sets_table() -> str:
    """Name, size and origin of every template set."""
    rows = ["| name | templates | the first | class names | from |", "| --- | --- | --- | --- | --- |"]
    for each in TEMPLATE_SETS.values():
        sizes = f"{len(each.templates)} | `{each.templates[0]}` | {len(each.class_names) or ''}"
        rows.append(f"| `{each.name}` | {sizes} | {each.source} |")
    return "\n".join(rows)


def test_the_documentation_has_every_template_set() -> None:
    shown = SCORES.partition("<!-- template sets -->\n")[2].partition("\n<!-- end of template sets -->")[0]
    assert shown == template_sets_table(), f"the table of docs/scores.md is:\n{template_sets_table()}"


def makefile_targets() -> set[str]:
    return {name for names in re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE) for name in names.split()}


def test_documents_name_targets_of_the_makefile() -> None:
    for document in documents():
        named = re.findall(
            r"(?:^    |^|`)(?:\w+=\S+ )*make ([a-z][\w-]*)", document.read_text(), re.MULTILINE
        )
        assert set(named) <= makefile_targets(), document


def test_documents_name_load_tests_and_parts_of_make_test_all() -> None:
    load_tests = set(typer.main.get_group(cli).commands)
    folders = {path.name for path in (ROOT / "tests/external").iterdir() if path.is_dir()} - {"__pycache__"}
    listed = re.search(r"^PARTS := (.+)\nFOLDERS := \$\(PARTS\) (.+)$", MAKEFILE, re.MULTILINE)
    assert listed
    parts = set(" ".join(listed.groups()).split())
    assert parts | {"deploy", "site"} == folders
    for document in documents():
        text = document.read_text()
        assert set(re.findall(r"-m loadtests ([a-z][\w-]*)", text)) <= load_tests, document
        named = " ".join(a or b for a, b in re.findall(r'\bONLY=(?:"([\w ]+)"|(\w+))', text))
        assert set(named.split()) <= parts, document


def test_pre_commit_runs_a_target_of_the_makefile() -> None:
    hooks = re.findall(r"^ +entry: make (\S+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks
    assert set(hooks) <= makefile_targets()


def test_the_changelog_begins_with_what_is_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.findall(r"^## (.+)", changelog, re.MULTILINE)
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title) for title in released)
    kinds = re.findall(r"^### (.+)", changelog, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150, "move a part of it to its page in docs/"


def test_lock_files_hold_no_addresses() -> None:
    for path in (*(ROOT / "requirements").iterdir(), ROOT / "tests/deploy/package-lock.json"):
        assert "://" not in path.read_text(), path.name


@pytest.mark.parametrize(
    ("lock", "lists"),
    [
        ("dev", ["dependencies", "server", "cpu", "heif", "mcp", "openvino", "parquet", "tracing", "video"]),
        ("dev", ["dev", "build", "deploy", "dist", "site"]),
        ("service", ["dependencies", "server", "cpu"]),
        ("image-cpu", ["dependencies", "server", "cpu", "heif", "openvino", "tracing"]),
        ("image-gpu", ["dependencies", "server", "gpu", "heif", "tracing"]),
        ("build", ["build"]),
        ("sbom", ["sbom"]),
    ],
)
def test_a_lock_file_pins_what_pyproject_asks_for(lock: str, lists: list[str]) -> None:
    project = SERVICE["project"]
    every = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    every |= PYPROJECT["dependency-groups"]
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in lines}
    for line in (line for name in lists for line in every[name]):
        asked = Requirement(line)
        if asked.name == "clipserve-models":  # of this checkout: not pinned, and its dependencies are
            own = {canonicalize_name(Requirement(each).name) for each in MODELS["project"]["dependencies"]}
            assert own - {"clipserve-core"} <= pins.keys(), "run make lock"
            continue
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), f"{line}: run make lock"


def test_all_distributions_have_one_version() -> None:
    assert clipserve.__version__ == clipserve_models.__version__
    own = f"=={clipserve.__version__}"
    assert f"clipserve-core[server]{own}" in MODELS["project"]["dependencies"]
    for extra, name in (("cpu", "clipserve"), ("gpu", "clipserve-gpu")):
        assert f"clipserve-models{own}" in SERVICE["project"]["optional-dependencies"][extra]
        project = tomllib.loads((ROOT / f"service/distributions/{name}/pyproject.toml").read_text())[
            "project"
        ]
        assert project["version"] == clipserve.__version__
        assert project["dependencies"] == [f"clipserve-core[server,{extra}]{own}"]


def test_both_distributions_have_the_licence_of_the_repository() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert [(ROOT / folder / "LICENSE").read_text() for folder in ("service", "models")] == [licence] * 2
