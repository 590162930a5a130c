"""The Markdown files of the repository: their code blocks, headings, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FOLDERS = (".github", "docs", "deploy", "loadtests/results", "models", "service")
_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1\n?", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_OF_ALL = re.compile(r"^<!-- blocks: ([^\n]*) -->$", re.MULTILINE)
_COMMENT_ABOVE = re.compile(r"<!-- ([^\n]*) -->\n+\Z")
_LINKS = (
    re.compile(r"\]\(([^)\s]+)\)"),  # [text](target) and ![text](target)
    re.compile(r"<(?:img|source|a)\b[^>]*?\b(?:src|srcset|href)=\"([^\"]+)\""),
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    `line`: of its fence, from 1; `section`: how many headings are before it; `note`: the comment right above it, or
    the one for all blocks of the page, `<!-- blocks: NOTE -->`.
    """

    language: str
    text: str
    line: int
    section: int
    note: str

    @property
    def file_name(self) -> str:
        """What a reader saves it as: the name in the comment of its first line, such as `# photos.py: ...`."""
        named = re.match(r"# ([\w-]+\.py)\b", self.text)
        return named[1] if named else ""


def documents() -> list[Path]:
    """Every Markdown file that people read, by its place."""
    return sorted([*ROOT.glob("*.md"), *(path for each in _FOLDERS for path in (ROOT / each).rglob("*.md"))])


def shown(document: Path) -> str:
    """Its path from the root, for messages."""
    return document.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in order."""
    found, of_all = [], _OF_ALL.search(text)
    for fence in _FENCE.finditer(text):
        note = _COMMENT_ABOVE.search(text, 0, fence.start()) or of_all
        line = text.count("\n", 0, fence.start()) + 1
        section = len(_HEADING.findall(_FENCE.sub("", text[: fence.start()])))
        found.append(Block(fence[2], fence[3], line, section, note[1] if note else ""))
    return found


def links(text: str) -> Iterator[str]:
    """The path of each link to a file of the repository, without its anchor."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    for target in (found for pattern in _LINKS for found in pattern.findall(prose)):
        if not re.match(r"\w+:|#", target):
            yield target.partition("#")[0]
