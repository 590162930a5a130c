"""`clipserve mcp`, asked by the client of the official SDK over both transports."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import BlobResourceContents
from PIL import Image

from clipserve.access.key_file import add_key
from tests.commands.files import run_here, start
from tests.process import ROOT

SCENES = {"cat.jpg": None, "red/red.png": "red", "blue.png": "blue"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp") / "photos"
    (folder / "red").mkdir(parents=True)
    for name, color in SCENES.items():
        if color is None:
            shutil.copy(ROOT / "docs" / "cat.jpg", folder / name)
        else:
            Image.new("RGB", (64, 48), color).save(folder / name)
    (folder.parent / "sets").mkdir()
    (folder.parent / "sets/pets.toml").write_text('labels = ["a cat", "a dog"]\nthreshold = 0.6\n')
    (folder.parent / "secret.png").write_bytes((folder / "blue.png").read_bytes())
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    return folder


@asynccontextmanager
async def over_stdio(photos: Path) -> AsyncIterator[Client]:
    words = ["-m", "clipserve", "mcp", "--folder", str(photos)]
    sets = photos.parent / "sets"
    environment = os.environ | {"CLIPSERVE_BACKEND": "onnx", "CLIPSERVE_LABEL_SETS_FOLDER": str(sets)}
    server = StdioServerParameters(command=sys.executable, args=words, cwd=ROOT, env=environment)
    async with Client(server) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content["result"]


async def error_of(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return " ".join(getattr(each, "text", "") for each in answer.content)


async def test_an_agent_searches_looks_at_what_it_found_and_classifies_it(photos: Path) -> None:
    async with over_stdio(photos) as client:
        found = await ask(client, "search", sentence="a cat", top=2)
        assert (found[0]["path"], len(found)) == ("photos/cat.jpg", 2)
        (picture,) = (await client.read_resource(found[0]["uri"])).contents
        assert isinstance(picture, BlobResourceContents)
        with Image.open(io.BytesIO(base64.b64decode(picture.blob))) as image:
            assert (image.format, max(image.size)) == ("JPEG", 451)
        scores = await ask(client, "classify", path=found[0]["path"], labels=["a dog", "a cat"])
        assert scores[0]["label"] == "a cat"
        assert await ask(client, "label_sets") == ["pets"]
        (pet,) = await ask(client, "classify", path=found[0]["path"], label_set="pets")
        assert pet["label"] == "a cat"
        (like, *_) = await ask(client, "search_like", path="photos/red/red.png")
        assert (like["path"], like["cosine"]) == ("photos/red/red.png", pytest.approx(1, abs=1e-5))
        cosines = await ask(client, "similarity", path="photos/cat.jpg", sentences=["a cat", "a car"])
        vectors = [
            await ask(client, "embed", **item) for item in ({"path": "photos/cat.jpg"}, {"sentence": "a cat"})
        ]
        assert float(np.dot(*vectors)) == pytest.approx(cosines[0], abs=1e-5)


async def test_what_an_agent_may_not_see_or_asks_wrongly_is_an_error_it_can_read(photos: Path) -> None:
    async with over_stdio(photos) as client:
        for path in ("photos/../secret.png", "photos/link.png", "secret.png", "/etc/passwd", "photos", ""):
            assert "there is no photo" in await error_of(client, "classify", path=path, labels=["a", "b"])
            with pytest.raises(Exception, match=r"no photo|security|[Uu]nknown resource|Error reading"):
                await client.read_resource(f"photo://{path}")
        for path in ("photos/\0", f"photos/{'a' * 5_000}"):
            message = await error_of(client, "classify", path=path, labels=["a", "b"])
            assert "there is no photo" in message
            assert str(photos) not in message, "an agent need not know where the folder is"
        found = await ask(client, "search", sentence="a plain color", top=10)
        assert {each["path"] for each in found} == {f"photos/{name}" for name in SCENES}
        assert "one of the two" in await error_of(client, "embed")
        for labels in ({}, {"labels": ["a", "b"], "label_set": "pets"}, {"label_set": "nowhere"}):
            assert "label" in await error_of(client, "classify", path="photos/cat.jpg", **labels)
        assert "tokens" in await error_of(client, "search", sentence="cat " * 900)
        assert "top" in await error_of(client, "search", sentence="a cat", top=101)
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {*tools} == {"search", "search_like", "label_sets", "classify", "similarity", "embed"}
        for tool in tools.values():
            assert tool.description
            assert tool.input_schema["type"] == "object"


async def test_over_http_it_needs_a_key_of_the_service(photos: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "agent", ["use"])
    process = start("mcp", "--folder", photos, "--port", "0", CLIPSERVE_KEYS_FILE=str(tmp_path / "keys"))
    try:
        assert process.stderr is not None
        while "/mcp" not in (line := process.stderr.readline()):
            assert line, "it ended"
        url = line.split()[-1]
        headers = {"authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert (await ask(client, "search", sentence="a cat"))[0]["path"] == "photos/cat.jpg"
        async with httpx2.AsyncClient(timeout=60) as http:
            refused = await http.post(url, json={})
        assert (refused.status_code, "key" in refused.json()["error"]) == (401, True)
    finally:
        process.terminate()
        process.communicate(timeout=300)


@pytest.mark.parametrize(("host", "family"), [("::1", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)])
def test_a_taken_port_is_told_with_its_option_and_its_host(
    host: str, family: socket.AddressFamily, photos: Path
) -> None:
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        status, _, errors = run_here("mcp", "--folder", photos, "--port", str(port), CLIPSERVE_HOST=host)
    assert status == 1
    assert f"clipserve: --port={port}: cannot listen on {host}: address already in use" in errors
    assert "doctor" not in errors, "it looks at the settings' ports"
    assert ("whoever reaches 0.0.0.0 sees these photos" in errors) is (host == "0.0.0.0")


def test_folders_that_are_not_there_or_have_one_name_are_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a/photos").mkdir(parents=True)
    (tmp_path / "b/photos").mkdir(parents=True)
    status, _, errors = run_here("mcp", "--folder", tmp_path / "nothing")
    assert (status, "there is no folder" in errors) == (2, True)
    status, _, errors = run_here("mcp", "--folder", tmp_path / "a/photos", "--folder", tmp_path / "b/photos")
    assert (status, "the same name" in errors) == (2, True)
