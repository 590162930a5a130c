"""Clients that public generators make of /openapi.json classify a photo.

Not tried: a client of Go, whose generators come from Go's own proxy alone.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.external.clients.environments import installed
from tests.external.clients.test_clients import LABELS, PHOTO, url  # noqa: F401

HERE = Path(__file__).parent


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(cwd), **environment}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(document: Path, *arguments: str) -> str:
    """openapi-python-client's."""
    program = installed(HERE / "python.txt")
    generator, path = program.with_name("openapi-python-client"), f"{program.parent}:/usr/bin:/bin"
    options = ("--meta", "none", "--output-path", "clipserve_client")
    run(generator, "generate", "--path", document, *options, cwd=document.parent, PATH=path)
    return run(program, HERE / "main.py", *arguments, cwd=document.parent, PYTHONPATH=str(document.parent))


def typescript(document: Path, *arguments: str) -> str:
    """openapi-typescript's types, which the compiler holds the program to."""
    folder = document.parent
    for name in ("package.json", "main.ts"):
        shutil.copy(HERE / name, folder)
    run("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=folder)
    programs = folder / "node_modules/.bin"
    run(programs / "openapi-typescript", document, "-o", "schema.d.ts", cwd=folder)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck"]
    run(programs / "tsc", *options, "main.ts", cwd=folder)
    return run("node", "main.js", *arguments, cwd=folder)


@pytest.mark.parametrize("client", [python, typescript])
def test_a_generated_client_classifies_a_photo(client: Any, url: str, tmp_path: Path) -> None:  # noqa: F811
    document = tmp_path / "openapi.json"
    document.write_text(httpx.get(f"{url}/openapi.json").text)
    answer = json.loads(client(document, url, str(PHOTO), *LABELS))
    asked = {"images": [base64.b64encode(PHOTO.read_bytes()).decode()], "labels": LABELS}
    expected = httpx.post(f"{url}/classify", json=asked, timeout=60).json()["results"][0]
    assert answer["labels"] == expected["labels"]
