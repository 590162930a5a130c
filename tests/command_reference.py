"""The reference of docs/commands.md, out of the commands' own help: `make docs`."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click

from clipserve.__main__ import cli
from clipserve_models.__main__ import app as models
from tests.api_reference import ROOT, tell

COMMANDS = ROOT / "docs/commands.md"
# Lists of commands with the beginnings of their help, and what every command has.
_REPEATED = re.compile(
    r"\*\*Commands\*\*:\n\n(?:\* .+\n)+\n|\* `--help`: .+\n|\*\*Options\*\*:\n\n(?=\n*#|\Z)"
)


def command_reference() -> str:
    """Markdown: usage, arguments and options of every command."""
    return "\n" + _of(cli, "clipserve") + _of(models, "clipserve models")


def _of(app: typer.Typer, name: str) -> str:
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name=name), name=name)
    return (
        re.sub("^# ", "## ", _REPEATED.sub("", _REPEATED.sub("", text)), flags=re.MULTILINE).strip() + "\n\n"
    )


if __name__ == "__main__":
    tell(COMMANDS, command_reference())
