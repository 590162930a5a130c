"""Counts the lines of the project by folder, and how many of them are code: `make lines`.

Code is what is left without blank lines, comments and docstrings; of other languages, without blank lines.
The stubs of clip.proto, locks and generated files are not counted.
"""

from __future__ import annotations

import io
import subprocess
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_OTHERS = {".c", ".css", ".html", ".js", ".sh", ".tpl", ".yaml", ".yml"}


def code_lines(source: str) -> int:
    """The lines of Python that hold a token which is neither a comment nor a docstring."""
    lines = set[int]()
    statement: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            if any(each.type != tokenize.STRING for each in statement):  # a string alone is a docstring
                lines.update(n for each in statement for n in range(each.start[0], each.end[0] + 1))
            statement = []
        elif token.type not in _LAYOUT:
            statement.append(token)
    return len(lines)


def folder_of(path: Path) -> list[str]:
    """The rows that a file counts for: its top folder and, in the service, its package."""
    top = path.parts[0]
    if top != "service":
        return [top]
    return [top, f"  {path.parts[2] if len(path.parts) > 3 else '(top)'}"]


def main() -> None:
    """Print the table: Python, then the other languages."""
    lines, code, others = Counter[str](), Counter[str](), Counter[str]()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = Path(name)
        if "_pb2" in name or not (ROOT / path).is_file():
            continue
        if path.suffix == ".py":
            source = (ROOT / path).read_text(encoding="utf-8")
            for row in folder_of(path):
                lines[row] += len(source.splitlines())
                code[row] += code_lines(source)
        elif path.suffix in _OTHERS:
            text = (ROOT / path).read_text(encoding="utf-8")
            others[f"{path.parts[0]} ({path.suffix[1:]})"] += sum(
                map(bool, map(str.strip, text.splitlines()))
            )
    print("  lines    code  of Python")
    for row in sorted(lines, key=lambda row: ("service" if row[0] == " " else row, row[0] == " ", row)):
        print(f"{lines[row]:7} {code[row]:7}  {row}")
    print("          lines  of others")
    for row in sorted(others):
        print(f"{'':7} {others[row]:7}  {row}")


if __name__ == "__main__":
    main()
