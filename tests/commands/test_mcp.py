"""`clipserve mcp`, asked by the client of the official SDK."""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from clipserve.commands.opening import IN_FLIGHT, open_clip
from tests.commands.files import photos as photos_of
from tests.commands.files import run_here
from tests.commands.hostile import GOOD, Parts, body, path_of, serving
from tests.support.process import ROOT, Process

if TYPE_CHECKING:  # the tests that use it import it: it takes a second, in each process
    from mcp import Client

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
    (folder.parent / "state/label-sets").mkdir(parents=True)
    (folder.parent / "state/label-sets/pets.toml").write_text(
        'labels = ["a cat", "a dog"]\nthreshold = 0.6\n'
    )
    (folder.parent / "secret.png").write_bytes((folder / "blue.png").read_bytes())
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    return folder


@asynccontextmanager
async def over_stdio(photos: Path) -> AsyncIterator[Client]:
    from mcp import Client, StdioServerParameters

    words = ["-m", "clipserve", "mcp", "--folder", str(photos)]
    environment = os.environ | {
        "CLIPSERVE_BACKEND": "onnx",
        "CLIPSERVE_STATE_DIR": str(photos.parent / "state"),
    }
    server = StdioServerParameters(command=sys.executable, args=words, cwd=ROOT, env=environment)
    async with Client(server) as client:
        yield client


@asynccontextmanager
async def in_memory(photos: Path, url: str) -> AsyncIterator[Client]:
    """The same tools without a process, which takes seconds to start."""
    from mcp import Client

    from clipserve.commands.agents import Photos, tools

    async with open_clip(url, None, None, IN_FLIGHT) as clip, Client(tools(Photos(clip, [photos]))) as client:
        yield client


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content.get("result", answer.structured_content)


async def search(client: Client, tool: str = "search", **arguments: Any) -> Any:
    """The photos, when all are embedded."""
    while (found := await ask(client, tool, **arguments))["note"]:
        pass
    return found["photos"]


async def error_of(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return " ".join(getattr(each, "text", "") for each in answer.content)


async def test_an_agent_searches_looks_at_what_it_found_and_classifies_it(photos: Path) -> None:
    from mcp_types import BlobResourceContents

    async with over_stdio(photos) as client:
        found = await search(client, sentence="a cat", top=2)
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
        (like, *_) = await search(client, "search_like", path="photos/red/red.png")
        assert (like["path"], like["cosine"]) == ("photos/red/red.png", pytest.approx(1, abs=1e-5))


async def test_what_an_agent_may_not_see_or_asks_wrongly_is_an_error_it_can_read(
    photos: Path, demo_process: Process
) -> None:
    async with in_memory(photos, demo_process.url) as client:
        for path in ("photos/../secret.png", "photos/link.png", "secret.png", "/etc/passwd", "photos", ""):
            assert "there is no photo" in await error_of(client, "classify", path=path, labels=["a", "b"])
            with pytest.raises(Exception, match=r"no photo|security|[Uu]nknown resource|Error reading"):
                await client.read_resource(f"photo://{path}")
        for path in ("photos/\0", f"photos/{'a' * 5_000}"):
            message = await error_of(client, "classify", path=path, labels=["a", "b"])
            assert "there is no photo" in message
            assert str(photos) not in message, "an agent need not know where the folder is"
        found = await search(client, sentence="a plain color", top=10)
        assert {each["path"] for each in found} == {f"photos/{name}" for name in SCENES}
        for labels in ({}, {"labels": ["a", "b"], "label_set": "pets"}, {"label_set": "nowhere"}):
            assert "label" in await error_of(client, "classify", path="photos/cat.jpg", **labels)
        assert "tokens" in await error_of(client, "search", sentence="cat " * 900)
        assert "top" in await error_of(client, "search", sentence="a cat", top=101)
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {*tools} == {"search", "search_like", "label_sets", "classify"}
        for tool in tools.values():
            assert tool.description
            assert tool.input_schema["type"] == "object"


async def test_a_search_answers_at_once_and_embeds_beside_it_with_progress(tmp_path: Path) -> None:
    folder, told, images_may = photos_of(tmp_path / "photos", 40), list[float](), threading.Event()

    def answers(request: bytes) -> Parts:
        if path_of(request) == "/embed" and b'"texts"' not in request:
            images_may.wait(2)  # three rounds of 16 requests: longer than a search waits
        return body(GOOD[path_of(request)])

    async def report(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    with serving(answers) as (url, _):
        try:
            async with in_memory(folder, url) as client:
                first = await client.call_tool("search", {"sentence": "a cat"}, progress_callback=report)
                assert first.structured_content is not None
                assert "still being embedded" in first.structured_content["note"]
                assert told
                images_may.set()
                assert len(await search(client, sentence="a cat", top=100)) == 40
        finally:
            images_may.set()


def test_folders_that_are_not_there_or_have_one_name_are_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a/photos").mkdir(parents=True)
    (tmp_path / "b/photos").mkdir(parents=True)
    status, _, errors = run_here("mcp", "--folder", tmp_path / "nothing")
    assert (status, "there is no folder" in errors) == (2, True)
    status, _, errors = run_here("mcp", "--folder", tmp_path / "a/photos", "--folder", tmp_path / "b/photos")
    assert (status, "the same name" in errors) == (2, True)
