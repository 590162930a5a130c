"""The references of docs/rest.md and docs/grpc.md, out of the REST document and the proto: `make docs`."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from loadtests.fake_backend import FakeBackend
from tests.support import DIM, serving, write_toy_artifact

ROOT = Path(__file__).parents[1]
REST, GRPC = ROOT / "docs/rest.md", ROOT / "docs/grpc.md"
PROTO = ROOT / "service/clipserve/v1/clip.proto"
BEGIN, END = "<!-- make docs -->\n", "<!-- end of the reference -->\n"

Schema = dict[str, Any]


def rest_reference() -> str:
    """Markdown: every operation of the REST front."""
    return "".join(line + "\n" for line in _rest(_openapi()))


def grpc_reference() -> str:
    """Markdown: every method and message of the proto."""
    return "".join(line + "\n" for line in _grpc(_described()))


def made(page: Path) -> str:
    """The part of a page that is made."""
    return page.read_text().partition(BEGIN)[2].partition(END)[0]


def tell(page: Path, reference: str) -> None:
    """Put it into the page in place of the part that is made."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + reference + END + rest.partition(END)[2])


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


def _described() -> FileDescriptorProto:
    include = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.NamedTemporaryFile() as out:
        arguments = [
            "protoc",
            f"-I{ROOT}",
            f"-I{include}",
            "--include_source_info",
            f"--descriptor_set_out={out.name}",
            str(PROTO),
        ]
        if protoc.main(arguments):
            raise RuntimeError(f"{PROTO} is not a proto")
        (file,) = FileDescriptorSet.FromString(Path(out.name).read_bytes()).file
    return file


def _grpc(file: FileDescriptorProto) -> Iterator[str]:
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }
    yield from ("", f"## Reference: `{file.package}`")
    for s, service in enumerate(file.service):
        rows = [
            (f"`{m.name}`", _passes(m.client_streaming, m.input_type), _passes(m.server_streaming, m.output_type),
             comments.get((6, s, 2, i), ""))
            for i, m in enumerate(service.method)
        ]  # fmt: skip
        yield from ("", f"### {service.name}", "", comments.get((6, s), ""))
        yield from _table(("method", "request", "answer", "meaning"), rows)
    for e, enum in enumerate(file.enum_type):
        values = [(f"`{v.name}`", comments.get((5, e, 2, i), "")) for i, v in enumerate(enum.value)]
        yield from ("", f"### {enum.name}", "", comments.get((5, e), ""))
        yield from _table(("value", "meaning"), values)
    for m, message in enumerate(file.message_type):
        yield from ("", f"### {message.name}", "", comments.get((4, m), ""))
        fields = [
            (f"`{f.name}`", _type(message, f), comments.get((4, m, 2, i), ""))
            for i, f in enumerate(message.field)
        ]
        if fields:
            yield from _table(("field", "type", "meaning"), fields)


def _passes(streaming: bool, name: str) -> str:
    return ("stream of " if streaming else "") + f"`{name.rpartition('.')[2]}`"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    name = field.type_name.rpartition(".")[2] or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    return ("repeated " if repeated else "optional " if field.proto3_optional else "") + f"`{name}`"


def main() -> None:
    """Write them into their pages."""
    tell(REST, rest_reference())
    tell(GRPC, grpc_reference())


if __name__ == "__main__":
    main()
