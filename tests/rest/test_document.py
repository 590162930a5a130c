"""The files of `rest/document/` say what the code does: its routes, its fields, its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError
from starlette.routing import Route

from clipserve.api.fields import MAX_TEMPERATURE, MIN_TEMPERATURE
from clipserve.api.requests import (
    ClassifyRequest,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
    VectorOptions,
)
from clipserve.application.label_sets.definition import LabelFields, LabelSetFields
from clipserve.application.label_sets.request import MAX_ID, NAME
from clipserve.clip.manifest import TextSpec
from clipserve.rest.compat.adapters import ADAPTERS
from clipserve.rest.json_body import IMAGE_FIELDS
from clipserve.rest.uploads import reader_of
from loadtests.fake_backend import FakeBackend
from tests.rest.documents import document_of, examples_of, faults, operations, resolved
from tests.support import DIM, TEXT, Running, serving, write_toy_artifact

LISTS = {"image": "images", "to_image": "to_images", "text": "texts", "to_text": "to_texts"}
OF_PATHS: dict[str, type[Any]] = {
    "/classify": ClassifyRequest,
    "/embed": EmbedRequest,
    "/similarity": SimilarityRequest,
    "/tokenize": TokenizeRequest,
}
READ = OF_PATHS | {"LabelSetFields": LabelSetFields, "LabelFields": LabelFields}
VALUES: list[Any] = [None, True, 1, 0.5, 2.0, "float", "softmax", "int8", [], [1], ["{}"], {}]


@pytest.mark.parametrize("compat", [(), *((name,) for name in ADAPTERS), tuple(ADAPTERS)], ids="+".join)
async def test_each_route_is_documented_and_each_operation_has_a_route(
    toy: Path, monkeypatch: pytest.MonkeyPatch, compat: tuple[str, ...]
) -> None:
    built: list[FastAPI] = []

    class Kept(FastAPI):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            built.append(self)

    monkeypatch.setattr("clipserve.rest.app.FastAPI", Kept)
    async with serving(FakeBackend(DIM), toy, warm=False, compat=compat) as running:
        document = await document_of(running)
    routes = {
        f"{method.lower()} {route.path}"
        for app in built
        for route in app.routes
        if isinstance(route, Route) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes == {name for name, _ in operations(document)}
    assert_what_is_referred_to_is_there(document)


def assert_what_is_referred_to_is_there(document: dict[str, Any]) -> None:
    used = set(re.findall(r"#/components/(\w+)/([\w-]+)", json.dumps(document)))
    there = {(kind, name) for kind, named in document["components"].items() for name in named}
    assert used <= there
    left = {name for _, name in there - used}
    assert left - {"key"} <= {"ImageUri", "MessagePart", "EncodedImage"}, "only what several adapters use"


async def test_nothing_is_left_to_be_filled_in(running: Running) -> None:
    text = (await running.client.get("/openapi.json")).text.replace('"$ref"', "")
    assert not re.findall(r"\$\w+", text)
    assert not re.findall(r'"x-\w+":', text)


@pytest.mark.parametrize("place", READ)
async def test_the_fields_documented_are_those_that_are_read(running: Running, place: str) -> None:
    document = await document_of(running)
    whole = json_schema(document, place) if place in OF_PATHS else document["components"]["schemas"][place]
    read = TypeAdapter(READ[place]).json_schema()
    read["properties"] = {
        name: field for name, field in read["properties"].items() if name not in IMAGE_FIELDS
    }
    own = {name: field for name, field in whole["properties"].items() if name not in IMAGE_FIELDS}
    assert own.keys() == read["properties"].keys()
    assert {*whole.get("required", ())} == {*read.get("required", ())}
    for name, field in own.items():
        assert resolved(document, field).get("default") == read["properties"][name].get("default"), name
        assert not choices(document, read["properties"][name]) - choices(document, field), name
        for value in VALUES:
            fits = faults(document, field, value) == []
            assert not fits or is_read(READ[place], name, value), (name, value)


def json_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schema: dict[str, Any] = content["application/json"]["schema"]
    return schema


def choices(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """All that a schema enumerates."""
    whole = resolved(document, schema)
    several = [choices(document, each) for each in whole.get("anyOf", [])]
    enum = whole.get("enum", ())
    return set(() if isinstance(enum, str) else enum).union(*several)  # a name is filled in by the document


def is_read(kind: Any, name: str, value: Any) -> bool:
    """Whether a field may have this value."""
    try:
        if kind in OF_PATHS.values():
            reader_of(kind).validate({name: value}, strict=True)
        else:
            kind.model_validate({name: value}, strict=True)
    except ValidationError as error:
        return all(fault["loc"][0] != name for fault in error.errors())
    return True


@pytest.mark.parametrize("path", OF_PATHS)
async def test_a_form_has_the_fields_of_json(running: Running, path: str) -> None:
    document = await document_of(running)
    content = document["paths"][path]["post"]["requestBody"]["content"]["multipart/form-data"]
    fields = json_schema(document, path)["properties"]
    form = {LISTS.get(name, name): field for name, field in content["schema"]["properties"].items()}
    assert [*form] == [*fields]
    for name in form.keys() - {*IMAGE_FIELDS}:
        for value in VALUES:
            in_form, in_json = (faults(document, each[name], value) for each in (form, fields))
            assert bool(in_form) == bool(in_json) or value is None, (name, value)


async def test_bulk_has_the_fields_of_its_schema_in_the_query(running: Running) -> None:
    document = await document_of(running)
    documented = {each["name"]: each for each in document["paths"]["/bulk"]["post"]["parameters"]}
    read = TypeAdapter(VectorOptions).json_schema()["properties"]
    assert documented.keys() == read.keys()
    for name, field in read.items():
        assert resolved(document, documented[name]["schema"]).get("default") == field["default"]


async def test_bounds_that_no_setting_changes_are_those_of_the_code(running: Running) -> None:
    document = await document_of(running)
    whole = document["components"]
    for schema in (
        whole["schemas"]["Temperature"],
        whole["schemas"]["LabelSetFields"]["properties"]["temperature"],
    ):
        assert (schema["minimum"], schema["maximum"]) == (MIN_TEMPERATURE, MAX_TEMPERATURE)
    assert whole["schemas"]["LabelFields"]["properties"]["id"]["maxLength"] == MAX_ID
    assert whole["parameters"]["LabelSetName"]["schema"]["pattern"] == f"^{NAME.pattern}$"


async def test_each_example_of_a_request_has_an_answer_as_documented(tmp_path: Path) -> None:
    # The examples have more tokens than a toy takes.
    text = TextSpec(**TEXT.model_dump() | {"context_length": 77})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    async with serving(FakeBackend(DIM), toy) as running:
        document = await document_of(running)
        asked = list(requests_of(document))
        for name, kind, example in asked:
            method, path = name.format(name="pets", model="toy").split()
            answer = await running.client.request(method, path, **as_sent(kind, example))
            assert answer.is_success, (name, answer.text)
            responses = dict(operations(document))[name]["responses"]
            content = responses[str(answer.status_code)]["content"][answer.headers["content-type"]]
            value = answer.text if "ndjson" in kind else answer.json()
            assert faults(document, content["schema"], value) == []
    assert len(asked) == 19


def requests_of(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in examples_of(content):
                yield name, kind, example


def as_sent(kind: str, example: Any) -> dict[str, Any]:
    if "ndjson" in kind:
        return {"content": example, "headers": {"content-type": kind}}
    if kind == "multipart/form-data":
        return {"files": {field: (None, text) for field, text in example.items()}}
    return {"json": example}
