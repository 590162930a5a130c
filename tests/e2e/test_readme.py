"""A newcomer does what README.md and the pages behind it say, word for word, and gets what they show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.process import get, post

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
API, OTHER_SERVERS = ((ROOT / f"docs/{name}.md").read_text() for name in ("api", "other-servers"))


def section(page: str, title: str) -> str:
    """What is under this heading, and under those below it."""
    assert f"\n## {title}\n" in page
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(command: list[str]) -> str:
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    ).stdout


def at(url: str, block: str) -> str:
    """The block with the port of the service that the tests run."""
    assert "localhost:8080" in block
    return block.replace("localhost:8080", f"localhost:{httpx.URL(url).port}")


def assert_as_shown(shown: str, printed: str) -> None:
    """Equal but for the last digits of decimal numbers, which depend on the processor."""
    number = re.compile(r"-?\d+\.\d+")
    assert number.sub("#", printed) == number.sub("#", shown)
    told = [float(found) for found in number.findall(shown)]
    assert [float(found) for found in number.findall(printed)] == pytest.approx(told, abs=0.011)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_label_sets_make_use_list_and_delete_one(demo: str) -> None:
    commands, *_ = blocks((ROOT / "docs/label-sets.md").read_text(), "sh")
    printed = run(
        ["sh", "-e", "-c", at(demo, commands.replace("curl ", "curl -sS --fail-with-body -w '\\n' "))]
    )
    put, answer, listed = (json.loads(line) for line in printed.splitlines() if line)
    assert put["name"] == "pets"
    assert put["state"] in ("ready", "building"), "a busy machine takes longer than a PUT waits"
    assert answer["label_sets"] == [{"name": "pets", "version": put["version"]}]
    assert [each["label"] for each in answer["results"][0]["labels"]] == ["cat"]
    versions = {
        each["name"]: each["version"] for each in listed["label_sets"]
    }  # another test may have made some
    assert versions["pets"] == put["version"]
    assert get(f"{demo}/label-sets/pets").status_code == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_first_request_gives_the_answer_that_is_shown(demo: str) -> None:
    start, request = blocks(section(README, "Try it"), "sh")
    assert start == "make run\n"
    (shown,) = blocks(section(README, "Try it"), "json")
    answer = json.loads(run(["sh", "-c", at(demo, request)]))
    assert_as_shown(json.dumps(json.loads(shown)), json.dumps(answer))


Part = tuple[str, tuple[str | None, bytes | str]]  # of a form
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


def test_the_first_mistakes_get_the_answers_that_are_shown(demo: str, photos: dict[str, bytes]) -> None:
    image: Part = ("image", ("a.jpg", photos["cat"]))
    heic: Part = ("image", ("a.heic", HEIC))
    text: Part = ("image", (None, "photo.jpg"))
    label: Part = ("labels", (None, "cat"))
    page = (ROOT / "docs/troubleshooting.md").read_text()
    shown = re.findall(r"^\| `(\w+)`: (.+?) \|", page, re.MULTILINE)
    requests: list[Any] = [
        {"files": [heic, label]},
        {"files": [text, label]},
        {"json": {"image": "/9j/", "labels": ["cat"]}},
        {"files": [image]},
    ]
    for (code, said), request in zip(shown, requests, strict=True):
        answer = post(f"{demo}/classify", **request).json()
        assert answer["code"] == code
        assert answer["detail"].startswith(said)
    answer = post(f"{demo}/classify", files=[image, ("labels", (None, "cat,dog"))]).json()
    assert answer["results"][0]["labels"][0]["score"] == 1.0
    assert answer["warnings"]


def test_the_program_in_python_prints_what_is_shown(demo: str) -> None:
    (program,) = blocks(section(README, "From Python"), "python")
    (shown,) = blocks(section(README, "From Python"), "text")
    assert_as_shown(shown, run([sys.executable, "-c", at(demo, program)]))
