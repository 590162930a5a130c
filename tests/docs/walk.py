"""Does what a page says, block by block, as its reader would: with a real service, in a folder like a checkout.

- A block of `sh` runs in a shell. A variable that it sets is there in later blocks. Its line `make run`, the last,
  becomes a service with the settings before it.
- A block of `python` runs as a program; one whose first line is `# NAME.py` is saved under that name.
- If the next block of the section is of `text`, it is what this one prints.
- A comment right above a block says otherwise: `<!-- not run: REASON -->`, `<!-- run by: TEST -->`, or
  `<!-- run with: NAME -->`, with the packages of tests/external/clients/NAME.txt.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import PATIENT_WITH_CLIENTS, Process
from tools.markdown import Block, blocks

RUNNABLE = ("python", "sh")
OTHERWISE = re.compile(r"(?:not run|run by|run with): ")
SECONDS = 300  # for a start: a busy machine needs them
# The same vectors on every machine, and time for a busy one.
SETTINGS: dict[str, str | int] = {"backend": "onnx", **PATIENT_WITH_CLIENTS}
RECIPES = sorted(Path(__file__).parent.glob("recipes/*.txt"))  # what the page docs/recipes/NAME.md installs
CACHE = ".cache/clipserve"  # the reader's home is his folder
_CURL = "curl -sS --fail-with-body --retry 9 "  # a label set that is still being built says when to come back
_SERVE = re.compile(r"^((?:CLIPSERVE_\w+=\S+ )*)make run\b.*\n", re.MULTILINE)
_INSTALL = re.compile(r"^pip install (.+)\n", re.MULTILINE)
# What the shell of one block leaves to that of the next.
_SHELL = "set -ae; [ ! -f .environment ] || . ./.environment\n{}\nexport -p > .environment\n"
_NUMBER = re.compile(r"-?\d+\.\d+")


class Walk:
    """One page, walked through in `folder`. `demo`: a service with the demo model, until a page starts its own."""

    def __init__(
        self,
        page: Path,
        folder: Path,
        demo: Process,
        python: str | Path = sys.executable,
    ) -> None:
        self.folder = folder
        self.installs: set[str] = set()  # what the page installs with pip
        self._blocks = blocks(page.read_text())
        self._service = demo
        self._own: Process | None = None
        path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
        home = {"HOME": str(folder), "CLIPSERVE_CACHE_DIR": str(folder / CACHE)}
        self._environment = {**os.environ, **home, "PATH": path}
        self._script = ""  # the last that was run

    def walk(self) -> None:
        """Every block that is not to be run otherwise."""
        try:
            for block, after in zip(self._blocks, [*self._blocks[1:], None], strict=True):
                if block.language in RUNNABLE and not OTHERWISE.match(block.note):
                    tells = after and after.language == "text" and after.section == block.section
                    self.do(block, after if tells else None)
        finally:
            if self._own:
                assert self._own.stop()[0] == 0

    def again(self, service: Process) -> list[subprocess.CompletedProcess[str]]:
        """Each line of the last shell block once more, with the programs asking another service."""
        for name, text in ((block.file_name, block.text) for block in self._blocks):
            if name:
                (self.folder / name).write_text(_at(service, text))
        lines = _at(service, self._script).splitlines()
        return [self._run(["sh", "-c", _SHELL.format(line)]) for line in lines]

    def do(self, block: Block, shown: Block | None = None) -> None:
        """One block. `shown`: what it prints."""
        text = block.text
        if block.file_name:
            (self.folder / block.file_name).write_text(_at(self._service, text))
            return
        if block.language == "python":
            done = self._run([self._environment.get("PYTHON", "python"), "-c", _at(self._service, text)])
        else:
            for names in _INSTALL.findall(text):
                self.installs.update(re.findall(r"[\w-]+(?=[\['\" ]|$)", re.sub(r"\[.*?\]", "", names)))
            done = self._in_shell(_INSTALL.sub("", text))
        assert done.returncode == 0, f"the block in line {block.line}: {done.stderr}{done.stdout}"
        if shown:
            assert_as_shown(shown.text, done.stdout)

    def _in_shell(self, text: str) -> subprocess.CompletedProcess[str]:
        """The lines of a block. A line `make run` is the last, and a service stands when it has been read."""
        self._script = _SERVE.sub("", text).replace("curl ", _CURL)
        done = self._run(["sh", "-c", _SHELL.format(_at(self._service, self._script))])
        if line := _SERVE.search(text):
            assert self._own is None, "a page starts one service at most"
            assert not text[line.end() :], "who runs a service has another terminal for what follows"
            pairs = (pair.split("=", 1) for pair in line[1].split())
            settings = {name.removeprefix("CLIPSERVE_").lower(): self._value(value) for name, value in pairs}
            self._service = self._own = Process(
                **{**SETTINGS, "cache_dir": str(self.folder / CACHE), **settings}
            )
            self._service.wait_ready(SECONDS)
        return done

    def _value(self, value: str) -> str:
        """A path in the reader's folder is not one in the folder that the service starts in."""
        there = self.folder / value
        return str(there) if value and there.exists() else value

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def _at(service: Process, text: str) -> str:
    """The text with the addresses of this service."""
    ports = {"8080": service.url, "8081": service.rpc_address, "8082": service.operations_url}
    for usual, address in ports.items():
        text = text.replace(f"localhost:{usual}", f"localhost:{address.rpartition(':')[2]}")
    return text


def assert_as_shown(shown: str, printed: str) -> None:
    """Equal but for the last digits of decimal numbers, which depend on the processor."""
    assert _NUMBER.sub("#", printed) == _NUMBER.sub("#", shown)
    told = [float(found) for found in _NUMBER.findall(shown)]
    assert [float(found) for found in _NUMBER.findall(printed)] == pytest.approx(told, abs=0.011)
