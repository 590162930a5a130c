"""The sources of the site, out of the Markdown files: `make site` writes them into .site/.

They lie there as in the repository, so that the links between them hold. The references are made here and are not
in Git: REST is the OpenAPI document in Swagger UI, gRPC is clip.proto, commands tell their own help.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from clipserve.__main__ import cli
from clipserve_models.__main__ import app as models
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, serving, write_toy_artifact
from tools.markdown import ROOT, documents, links, shown

SITE = ROOT / ".site"
REFERENCES = SITE / "pages/docs/reference"
CONFIG = ROOT / "docs/zensical.toml"
_INDEXES = (ROOT / "docs/README.md", ROOT / "docs/decisions/README.md")
_REST = """<link rel="stylesheet" href="swagger-ui.css"><div id="swagger"></div>
<script src="swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{dom_id: "#swagger", supportedSubmitMethods: [], spec: {}}})</script>
"""


def pages() -> list[Path]:
    """Every Markdown file but those for the forge itself."""
    return [path for path in documents() if not path.is_relative_to(ROOT / ".github")]


def navigation() -> list[dict[str, Any]]:
    """The sections of the indexes with the pages of their tables, and the references."""
    found: list[dict[str, Any]] = [{"Start": ["README.md", {"All documents": "docs/README.md"}]}]
    for index in _INDEXES:
        for title, text in re.findall(r"^##? (.+)\n((?:(?!##? ).*\n)*)", index.read_text(), re.MULTILINE):
            rows = re.findall(r"^\| (?:\d+ \| )?\[(.+?)\]\((.+?)\) \|", text, re.MULTILINE)
            entries = [{name: shown((index.parent / path).resolve())} for name, path in rows]
            found += [{title: entries}] if entries else []
    names = {"REST": "rest", "gRPC": "grpc", "Commands": "commands"}
    return [*found, {"References": [{title: f"docs/reference/{name}.md"} for title, name in names.items()]}]


def write_references() -> None:
    """Of REST, gRPC and the commands."""
    REFERENCES.mkdir(parents=True)
    for path in files("fastapi_swagger").joinpath("resources").iterdir():
        if path.name.startswith("swagger-ui"):
            (REFERENCES / path.name).write_bytes(path.read_bytes())
    spec = json.dumps(asyncio.run(openapi())).replace("</", "<\\/")
    (REFERENCES / "rest.md").write_text("# REST\n\n" + _REST.format(spec))
    proto = (ROOT / "service/clipserve/v1/clip.proto").read_text()
    (REFERENCES / "grpc.md").write_text(f"# gRPC\n\n```protobuf\n{proto}```\n")
    parts = [help_of(cli, "clipserve"), help_of(models, "clipserve models")]
    (REFERENCES / "commands.md").write_text("# Commands\n\n" + "\n".join(parts))


def help_of(app: typer.Typer, name: str) -> str:
    """The help of all its commands as Markdown."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name=name), name=name)
    return re.sub("^# ", "## ", text, flags=re.MULTILINE)


async def openapi() -> dict[str, Any]:
    """The OpenAPI document of a service."""
    with tempfile.TemporaryDirectory() as folder:
        toy = await write_toy_artifact(Path(folder), name="demo")
        async with serving(FakeBackend(DIM), toy, warm=False) as running:
            return dict((await running.client.get("/openapi.json")).json())


def main() -> None:
    """Write them anew."""
    shutil.rmtree(SITE / "pages", ignore_errors=True)
    linked = {(page.parent / path).resolve() for page in pages() for path in links(page.read_text())}
    # A link to nothing ends it here; one to an anchor that is none ends the build of the site.
    for path in {*pages(), *(path for path in linked if not path.is_dir()), ROOT / "docs/site.css"}:
        copy = SITE / "pages" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    write_references()
    nav = json.dumps(navigation()).replace('": ', '" = ')  # TOML has = where JSON has :
    text = CONFIG.read_text().replace("[project]\n", f"[project]\nnav = {nav}\n", 1)
    (SITE / CONFIG.name).write_text(text)


if __name__ == "__main__":
    main()
