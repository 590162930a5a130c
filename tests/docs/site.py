"""The sources of the site, out of the Markdown files: `make site` writes them into .site/.

They lie there as in the repository, so that the links between them hold. The navigation is that of docs/README.md,
and the references, which are made here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.docs.markdown import ROOT, documents, links, shown

SITE = ROOT / ".site"
INDEX = ROOT / "docs/README.md"
CONFIG = ROOT / "docs/zensical.toml"
STYLE = ROOT / "docs/site.css"
# What tests/docs/references.py makes: title and place.
REFERENCES = {
    "REST": "docs/reference/rest.md",
    "gRPC": "docs/reference/grpc.md",
    "Commands": "docs/reference/commands.md",
}
_SECTION = re.compile(r"^##(#?) (.+)\n((?:(?!##).*\n)*)", re.MULTILINE)
_ROW = re.compile(r"^\| (?:\d+ \| )?(\[.+?\]\(.+?\)) \|", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
# The way back to the index, for who reads the files; the site has its navigation on every page.
_BACK = re.compile(r"\n\[All documents\]\(.+\)\n")


def pages() -> list[Path]:
    """Every Markdown file but those for the forge itself."""
    return [path for path in documents() if not path.is_relative_to(ROOT / ".github")]


def files() -> set[Path]:
    """What pages link to beside one another, pictures and files of the repository, and the style."""
    linked = {
        (page.parent / path).resolve() for page in pages() for path, _ in links(page.read_text()) if path
    }
    return {path for path in linked if path.suffix != ".md"} | {STYLE}


def navigation() -> list[dict[str, Any]]:
    """The sections of the index with the pages of their tables, in the form of the configuration.

    A page that is an index itself has those of its own tables below it.
    """
    found: list[dict[str, Any]] = [{"Start": ["README.md", {"All documents": shown(INDEX)}]}]
    for level, title, text in _SECTION.findall(INDEX.read_text()):
        into = next(iter(found[-1].values())) if level else found
        into.append({title: list(_rows(INDEX, text))})
    found.append({"References": [{title: path} for title, path in REFERENCES.items()]})
    return [section for section in found if all(section.values())]


def _rows(index: Path, text: str) -> Iterator[dict[str, Any]]:
    for row in _ROW.findall(text):
        for title, path in _LINK.findall(row):
            page = (index.parent / path).resolve()
            below = list(_rows(page, page.read_text())) if page.name == "README.md" else []
            yield {title: [shown(page), *below] if below else shown(page)}


def toml(value: object) -> str:
    """A list, table or string as a value of TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


def main() -> None:
    """Write them anew."""
    from tests.docs.references import reference  # what makes them needs the service

    shutil.rmtree(SITE / "pages", ignore_errors=True)
    for path in [*pages(), *files()]:
        copy = SITE / "pages" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            copy.write_text(_BACK.sub("\n", path.read_text()))
        else:
            shutil.copyfile(path, copy)
    for title, place in REFERENCES.items():
        copy = SITE / "pages" / place
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(f"# {title}\n\n{reference(title)}")
    text = CONFIG.read_text().replace("[project]\n", f"[project]\nnav = {toml(navigation())}\n", 1)
    (SITE / CONFIG.name).write_text(text)


if __name__ == "__main__":
    main()
