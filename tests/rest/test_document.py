"""/openapi.json says what the code does: its routes, its fields, its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from clipserve.api.requests import (
    ClassifyRequest,
    EmbeddingType,
    EmbedRequest,
    SimilarityRequest,
    TokenizeRequest,
)
from clipserve.clip.manifest import TextSpec
from clipserve.rest.compat.adapters import ADAPTERS
from loadtests.fake_backend import FakeBackend
from tests.rest.documents import document_of, examples_of, faults, names_in, operations
from tests.support import DIM, TEXT, Running, serving, write_toy_artifact

API_PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")


FIELDS = json.loads((Path(__file__).parent / "fields.json").read_text("utf-8"))


async def test_paths_methods_media_types_and_fields_are_those_that_clients_were_generated_from(
    running: Running,
) -> None:
    document = await document_of(running)
    found = {
        name: {
            "request": in_content(document, operation.get("requestBody", {})),
            "answers": {
                status: in_content(document, answer) if status < "400" else sorted(answer.get("content", ()))
                for status, answer in operation["responses"].items()
            },
        }
        for name, operation in operations(document)
    }
    assert {name.upper().partition(" ")[0] + " " + name.partition(" ")[2] for name in found} == FIELDS.keys()
    for name, operation in found.items():
        method, path = name.split()
        assert operation == FIELDS[f"{method.upper()} {path}"], name


def in_content(document: dict[str, Any], described: dict[str, Any]) -> dict[str, list[str]]:
    return {
        kind: sorted(names_in(document, content.get("schema")))
        for kind, content in described.get("content", {}).items()
    }


@pytest.mark.parametrize("compat", [(), tuple(ADAPTERS)], ids=["none", "all"])
async def test_the_document_has_only_what_its_operations_refer_to(toy: Path, compat: tuple[str, ...]) -> None:
    async with serving(FakeBackend(DIM), toy, warm=False, compat=compat) as running:
        document = await document_of(running)
    used = set(re.findall(r"#/components/(\w+)/([\w-]+)", json.dumps(document)))
    there = {(kind, name) for kind, named in document["components"].items() for name in named}
    assert used <= there
    assert {name for _, name in there - used} == {"key"}


async def test_nothing_is_left_to_be_filled_in(running: Running) -> None:
    text = (await running.client.get("/openapi.json")).text.replace('"$ref"', "")
    assert not re.findall(r"\$\w+", text)


REQUESTS = {
    "/classify": ClassifyRequest,
    "/embed": EmbedRequest,
    "/similarity": SimilarityRequest,
    "/tokenize": TokenizeRequest,
}


async def test_each_example_of_a_request_has_an_answer_as_documented(tmp_path: Path) -> None:
    # The examples have more tokens than a toy takes.
    text = TextSpec(**TEXT.model_dump() | {"context_length": 77})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    async with serving(FakeBackend(DIM), Path(f"demo={toy}")) as running:
        document = await document_of(running)
        asked = list(requests_of(document))
        for name, kind, example in asked:
            method, path = name.format(name="pets", model="demo").split()
            answer = await running.client.request(method, path, **as_sent(kind, example))
            assert answer.is_success, (name, answer.text)
            responses = dict(operations(document))[name]["responses"]
            content = responses[str(answer.status_code)]["content"][answer.headers["content-type"]]
            assert faults(document, content["schema"], answer.json()) == []
    assert len(asked) == 15


def requests_of(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in examples_of(content):
                yield name, kind, example


def as_sent(kind: str, example: Any) -> dict[str, Any]:
    if kind == "multipart/form-data":
        return {"files": {field: (None, text) for field, text in example.items()}}
    return {"json": example}


@pytest.mark.parametrize("path", REQUESTS)
def test_the_table_of_docs_api_has_every_field(path: str) -> None:
    """In the singular, as in forms, or in the plural."""
    (row,) = (line for line in API_PAGE.splitlines() if line.startswith(f"| `POST {path}` |"))
    named = {name.removesuffix("s") for name in re.findall(r"`(\w+)`", row.split("|")[3])}
    assert named == {field.name.removesuffix("s") for field in fields(REQUESTS[path])}


def test_docs_api_has_every_type_of_vectors() -> None:
    assert {*get_args(EmbeddingType)} <= {*re.findall(r"^\| `(\w+)` \|", API_PAGE, re.MULTILINE)}
