"""/openapi.json says what the code does: its routes, its fields, its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from clipserve.api.requests import EmbeddingType
from clipserve.clip.manifest import TextSpec
from clipserve.rest.compat.adapters import ADAPTERS
from loadtests.fake_backend import FakeBackend
from tests.rest.documents import document_of, examples_of, faults, names_in, operations, resolved
from tests.support.service import DIM, TEXT, Running, serving, write_toy_artifact

API_PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")
FIELDS = (Path(__file__).parent / "fields.txt").read_text("utf-8").splitlines()


async def test_no_path_media_type_or_field_is_lost_that_clients_were_generated_from(running: Running) -> None:
    """A line of fields.txt is one media type of a request or an answer, and its fields. New ones need no line."""
    document = await document_of(running)
    found = dict(described(document))
    for line in FIELDS:
        place, _, names = line.partition(":")
        assert place in found, place
        assert {*names.split()} <= found[place], place


def described(document: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    for name, operation in operations(document):
        method, path = name.split()
        for part, said in {"request": operation.get("requestBody", {}), **operation["responses"]}.items():
            place = f"{method.upper()} {path} {part}"
            yield place, set()
            for kind, content in said.get("content", {}).items():
                yield f"{place} {kind}", names_in(document, content.get("schema"))


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


async def test_each_example_of_a_request_has_an_answer_as_documented(tmp_path: Path) -> None:
    # The examples have more tokens than a toy takes.
    text = TextSpec(**TEXT.model_dump() | {"context_length": 77})
    toy = await write_toy_artifact(tmp_path / "toy", text=text)
    async with serving(FakeBackend(DIM), Path(f"demo={toy}")) as running:
        document = await document_of(running)
        asked = list(requests_of(document))
        for name, kind, example in asked:
            method, path = name.format(name="pets", model="demo").split()
            sent: dict[str, Any] = {"json": example}
            if kind == "multipart/form-data":
                sent = {"files": {field: (None, text) for field, text in example.items()}}
            answer = await running.client.request(method, path, **sent)
            assert answer.is_success, (name, answer.text)
            responses = dict(operations(document))[name]["responses"]
            content = responses[str(answer.status_code)]["content"][answer.headers["content-type"]]
            assert faults(document, content["schema"], answer.json()) == []
    assert len(asked) > 10


def requests_of(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            for example in examples_of(content):
                yield name, kind, example


async def test_the_table_of_docs_api_has_every_field_of_every_endpoint(running: Running) -> None:
    """In the singular, as in forms, or in the plural."""
    document = await document_of(running)
    for name, operation in operations(document):
        if operation["tags"] != ["images and texts"]:
            continue
        (row,) = (
            line for line in API_PAGE.splitlines() if line.startswith(f"| `{name.replace('post', 'POST')}` |")
        )
        named = {each.removesuffix("s") for each in re.findall(r"`(\w+)`", row.split("|")[3])}
        schema = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
        assert named == {each.removesuffix("s") for each in schema["properties"]}, name


def test_docs_api_has_every_type_of_vectors() -> None:
    assert {*get_args(EmbeddingType)} <= {*re.findall(r"^\| `(\w+)` \|", API_PAGE, re.MULTILINE)}
