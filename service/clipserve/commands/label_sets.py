"""`clipserve label-sets`: list, show, put and delete the label sets of a server that runs."""

from __future__ import annotations

import base64
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from clipserve.api.answers import Answer, shown
from clipserve.api.sets import LabelSet, LabelSetList, LabelSetSummary
from clipserve.commands.printing import say_json, say_table
from clipserve.commands.running import WRONG_USE, fail

S = TypeVar("S", bound=Answer)
label_sets = typer.Typer(no_args_is_help=True, help="List, show, put and delete label sets of a server.")

Url = Annotated[str, typer.Option(envvar="CLIPSERVE_URL", help="The server.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="CLIPSERVE_KEY", help="A key that it knows; put and delete need the scope `manage`."
    ),
]
CaFile = Annotated[Path | None, typer.Option(help="Certificates to trust, PEM.", exists=True, dir_okay=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, the default without a terminal.")]
Name = Annotated[str, typer.Argument(help="Of the label set.")]

_HERE = "http://localhost:8080"
_COLUMNS = ("NAME", "STATE", "LABELS", "PROMPTS", "MODEL", "VERSION")


@label_sets.command("list")
def listed(url: Url = _HERE, key: ApiKey = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """List all label sets."""
    answer = _ask(url, key, ca_file, "GET", "/label-sets", LabelSetList)
    if as_json or not sys.stdout.isatty():
        _echo(answer)
    else:
        say_table(map(_row, answer.label_sets), _COLUMNS)


@label_sets.command()
def show(name: Name, url: Url = _HERE, key: ApiKey = None, ca_file: CaFile = None, _: Json = False) -> None:
    """Show one label set as JSON: its labels, its scoring, the progress of its build."""
    _echo(_ask(url, key, ca_file, "GET", _path(name), LabelSet))


@label_sets.command()
def put(
    file: Annotated[
        str,
        typer.Argument(help="A .toml or .json file (docs/label-sets.md); - for JSON on standard input."),
    ],
    name: Annotated[str | None, typer.Option(help="Of the label set. Default: the name of the file.")] = None,
    url: Url = _HERE,
    key: ApiKey = None,
    ca_file: CaFile = None,
    _: Json = False,
) -> None:
    """Create or replace a label set. Image files beside FILE that examples name are sent with it."""
    if name is None and file == "-":
        fail("standard input has no name: give one, --name NAME", status=WRONG_USE)
    try:
        definition = _definition(file)
    except (OSError, ValueError, RecursionError) as error:
        fail(f"{file}: {getattr(error, 'strerror', None) or error}")
    place = _path(name or Path(file).stem)
    _echo(_ask(url, key, ca_file, "PUT", place, LabelSet, json=definition))


@label_sets.command()
def delete(name: Name, url: Url = _HERE, key: ApiKey = None, ca_file: CaFile = None) -> None:
    """Delete a label set with its examples and embeddings."""
    _ask(url, key, ca_file, "DELETE", _path(name), Answer)


def _ask(
    url: str, key: str | None, ca_file: Path | None, method: str, path: str, shape: type[S], **content: Any
) -> S:
    from clipserve.client.http import ask_once  # loads an HTTP client

    return ask_once(url, key, ca_file, method, path, shape, **content)


def _path(name: str) -> str:
    return f"/label-sets/{quote(name, safe='')}"


def _definition(file: str) -> Any:
    """The definition to send. Raises OSError, ValueError: it cannot be read."""
    if file == "-":
        return json.loads(sys.stdin.buffer.read())
    path = Path(file)
    content = path.read_text("utf-8")
    definition = tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    labels = definition.get("labels") if isinstance(definition, dict) else None
    for label in labels if isinstance(labels, list) else ():
        if isinstance(label, dict) and isinstance(label.get("examples"), list):
            label["examples"] = [_example(path.parent, example) for example in label["examples"]]
    return definition


def _example(folder: Path, example: object) -> object:
    """The base64 of an image file beside the definition; any other text unchanged. Raises ValueError: a path."""
    if not isinstance(example, str):
        return example
    if Path(example).name == example and os.path.isfile(folder / example):
        return base64.b64encode((folder / example).read_bytes()).decode()
    if "." in example and not example.startswith("data:"):  # base64 has no dot
        raise ValueError(
            f"example {example[:200]!r} is no file beside it: give the name of an image file in the same folder, "
            "base64 or a data URI"
        )
    return example


def _echo(answer: Answer) -> None:
    say_json(json.loads(json.dumps(answer, default=shown)), indent=2)


def _row(label_set: LabelSetSummary) -> list[str]:
    done, prompts = label_set.prompts_done, str(label_set.prompts)
    return [
        label_set.name,
        label_set.state,
        str(label_set.label_count),
        prompts if done == label_set.prompts else f"{done} of {prompts}",
        label_set.model,
        label_set.version,
    ]
