"""The references of the site: REST out of the OpenAPI document, gRPC is clip.proto, commands out of their own help.

They are not in Git: `make site` writes them beside the other pages.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from clipserve.__main__ import cli
from clipserve_models.__main__ import app as models
from loadtests.fake_backend import FakeBackend
from tests.docs.markdown import ROOT
from tests.support import DIM, serving, write_toy_artifact

Schema = dict[str, Any]
# Lists of commands with the beginnings of their help, and what every command has.
_REPEATED = re.compile(
    r"\*\*Commands\*\*:\n\n(?:\* .+\n)+\n|\* `--help`: .+\n|\*\*Options\*\*:\n\n(?=\n*#|\Z)"
)


def reference(title: str) -> str:
    """Markdown of the reference `REST`, `gRPC` or `Commands`."""
    if title == "REST":
        return "".join(line + "\n" for line in _rest(_openapi()))
    if title == "gRPC":
        return f"```protobuf\n{(ROOT / 'service/clipserve/v1/clip.proto').read_text()}```\n"
    return _commands(cli, "clipserve") + _commands(models, "clipserve models")


def _commands(app: typer.Typer, name: str) -> str:
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name=name), name=name)
    return (
        re.sub("^# ", "## ", _REPEATED.sub("", _REPEATED.sub("", text)), flags=re.MULTILINE).strip() + "\n\n"
    )


def _openapi() -> dict[str, Any]:
    async def fetch() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            toy = await write_toy_artifact(Path(folder), name="demo")
            async with serving(FakeBackend(DIM), toy, warm=False) as running:
                document: dict[str, Any] = (await running.client.get("/openapi.json")).json()
                return document

    return asyncio.run(fetch())


def _rest(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from ("", f"## {method.upper()} {path}", "", operation["summary"])
            yield from _said(operation)
            yield from _request(document, operation)
            yield from _answers(document, operation)


def _request(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    parameters = [_resolved(document, each) for each in operation.get("parameters", [])]
    if parameters:
        rows = [
            (f"`{p['name']}` ({p['in']})", _kind(document, p["schema"]), p.get("description", ""))
            for p in parameters
        ]
        yield from _table(("parameter", "type", "meaning"), rows)
    content = operation.get("requestBody", {}).get("content", {})
    for media_type, body in content.items():
        if media_type == "multipart/form-data" and "application/json" in content:
            continue  # the same fields, said above
        yield from ("", f"Body, `{media_type}`:")
        yield from _table_of(document, body["schema"])
        yield from _examples(body)


def _answers(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    shown: list[Schema] = []
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            continue
        for media_type, body in answer.get("content", {}).items():
            if body["schema"] in shown:
                yield from ("", f"Answer {status}, `{media_type}`: the same fields. {answer['description']}")
                continue
            shown.append(body["schema"])
            yield from ("", f"Answer {status}, `{media_type}`:")
            yield from _table_of(document, body["schema"])
            yield from _examples(body)
    failures = [
        f"{status} {answer['description'].rstrip('.').rpartition('Codes: ')[2]}"
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    if failures:
        yield from ("", f"Errors: {'; '.join(failures)}.")


def _table_of(document: dict[str, Any], schema: Schema) -> Iterator[str]:
    fields = _fields(document, schema)
    yield from _table(("field", "type", "meaning"), fields) if fields else _said(_resolved(document, schema))


def _said(schema: Schema) -> Iterator[str]:
    if "description" in schema:
        yield from ("", schema["description"])


def _examples(body: dict[str, Any]) -> Iterator[str]:
    found = (
        [body["example"]] if "example" in body else [e["value"] for e in body.get("examples", {}).values()]
    )
    for example in found:
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        yield from ("", "```json", *text.rstrip("\n").split("\n"), "```")


def _resolved(document: dict[str, Any], schema: Schema) -> Schema:
    """With what it refers to and what it is all of; where it may be null too, as if it may not."""
    if "$ref" in schema:
        *_, kind, name = schema["$ref"].split("/")
        schema = document["components"][kind][name] | schema
        return _resolved(document, {key: value for key, value in schema.items() if key != "$ref"})
    parts = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(parts) == 1:
        return _resolved(document, parts[0]) | {key: schema[key] for key in ("description",) if key in schema}
    for part in schema.get("allOf", []):
        own = _resolved(document, part)
        schema = schema | {
            "properties": schema.get("properties", {}) | own.get("properties", {}),
            "required": [*schema.get("required", ()), *own.get("required", ())],
        }
    return schema


def _fields(document: dict[str, Any], schema: Schema) -> list[tuple[str, str, str]]:
    schema = _resolved(document, schema)
    needed = schema.get("required", [])
    return [
        (
            f"`{name}`" + (" (required)" if name in needed else ""),
            _kind(document, field),
            _resolved(document, field).get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(document: dict[str, Any], schema: Schema) -> str:
    """The type in a few words, with the names of what it is made of."""
    schema = _resolved(document, schema)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = dict.fromkeys(_kind(document, each) for each in schema[several])
            return " or ".join(kind for kind in kinds if kind != "null") or "null"
    kinds = schema.get("type", "any")
    kind = next(each for each in kinds if each != "null") if isinstance(kinds, list) else str(kinds)
    if kind == "array":
        return f"list of {_kind(document, schema.get('items', {}))}"
    if "properties" in schema:
        return "{" + ", ".join(f"`{name}`" for name in schema["properties"]) + "}"
    return kind


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |")
    for row in rows:
        yield f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |"
