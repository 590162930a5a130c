"""`clipserve label-sets`, against a server that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clipserve.__main__ import cli
from loadtests.fake_backend import FakeBackend
from tests.application.label_sets import making as label_sets
from tests.commands import hostile
from tests.support.service import DIM, Running, png, serving

PUT = ("name", "model", "version", "labels", "label_count", "prompts")  # known before it is built


@pytest.fixture
async def running(toy: Path) -> AsyncIterator[Running]:
    async with serving(FakeBackend(DIM), toy) as made:
        yield made


async def run(server: Running, *words: str, stdin: str | None = None, key: str = "") -> Result:
    """As where the output is no terminal."""
    environment = {"CLIPSERVE_URL": server.url, "CLIPSERVE_KEY": key}

    def invoke() -> Result:
        return CliRunner().invoke(cli, ["label-sets", *words], input=stdin, env=environment)

    return await asyncio.to_thread(invoke)


async def built(server: Running) -> None:
    """A PUT answers after two seconds, built or not, and on a busy machine a build may take longer."""
    await label_sets.built(server.gateway.inference.label_sets)


async def test_a_set_is_put_listed_shown_and_deleted(running: Running) -> None:
    """People get a table, and programs JSON."""
    definition = '{"labels": ["cat", "dog"], "background": ["sky"]}'
    put = await run(running, "put", "-", "--name", "pets", stdin=definition)
    assert put.exit_code == 0, put.output
    await built(running)
    there = (await running.client.get("/label-sets/pets")).json()
    assert {name: json.loads(put.stdout)[name] for name in PUT} == {name: there[name] for name in PUT}
    listed = await run(running, "list")
    assert json.loads(listed.stdout) == (await running.client.get("/label-sets")).json()
    table = await asyncio.to_thread(hostile.in_a_terminal, "label-sets", "list", "--url", running.url)
    assert [line.split() for line in table.splitlines()] == [
        ["NAME", "STATE", "LABELS", "PROMPTS", "MODEL", "VERSION"],
        ["pets", "ready", "2", "3", "toy", there["version"]],
    ]
    shown = await run(running, "show", "pets")
    assert json.loads(shown.stdout)["labels"] == [{"label": "cat"}, {"label": "dog"}]
    deleted = await run(running, "delete", "pets")
    assert (deleted.exit_code, deleted.output) == (0, "")
    assert json.loads((await run(running, "list", "--json")).stdout) == {"label_sets": []}


async def test_a_file_names_the_set_and_its_images_are_sent(running: Running, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(1))
    (tmp_path / "pets.toml").write_text(
        'labels = ["dog", { label = "cat", examples = ["cat.png"] }]\nthreshold = 0.2\n'
    )
    put = await run(running, "put", str(tmp_path / "pets.toml"))
    assert put.exit_code == 0, put.output
    (_, cat) = json.loads(put.stdout)["labels"]
    assert len(cat["examples"]) == 1
    assert json.loads(put.stdout)["name"] == "pets"


async def test_only_files_beside_it_are_sent(running: Running, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "folder").mkdir()
    for example in (str(tmp_path / "secret.png"), "../secret.png"):
        definition = {"labels": [{"label": "cat", "examples": [example]}]}
        (tmp_path / "folder" / "pets.json").write_text(json.dumps(definition))
        put = await run(running, "put", str(tmp_path / "folder" / "pets.json"))
        assert put.exit_code == 1, put.output
        assert f"example {example!r} is no file beside it" in put.stderr


async def test_errors_are_in_the_words_of_the_server(running: Running) -> None:
    shown = await run(running, "show", "pets")
    told = (await running.client.get("/label-sets/pets")).json()
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == f"clipserve: unknown_label_set: {told['detail']}\n"
    put = await run(running, "put", "-", "--name", "pets", stdin='{"labels": 1}')
    assert put.stderr.startswith("clipserve: invalid_input: labels: ")
    odd = await run(running, "show", "../../v1/models")
    assert odd.exit_code == 1


@pytest.mark.parametrize(
    ("words", "stdin", "status", "said"),
    [
        (["put", "-"], "{}", 2, "standard input has no name"),
        (["put", "-", "--name", "pets"], "{", 1, "-: Expecting property name"),
        (["put", "/nowhere/pets.toml"], None, 1, "/nowhere/pets.toml: No such file or directory"),
        (["put", "-", "--name", "pets", "--key", "a b"], "{}", 1, "the key has characters that no key has"),
    ],
)
def test_what_cannot_be_sent_is_said_in_a_line(
    words: list[str], stdin: str | None, status: int, said: str
) -> None:
    told = CliRunner().invoke(cli, ["label-sets", *words], input=stdin)
    assert (told.exit_code, told.stdout, told.stderr.count("\n")) == (status, "", 1)
    assert said in told.stderr
    assert "a b" not in told.stderr
