"""Folders of photographs, and commands over them as processes of their own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from clipserve.__main__ import cli
from tests.support.process import ROOT


def photos(folder: Path, count: int, bad: int = 0) -> Path:
    """Small JPEGs that differ, in folders of a hundred; and `bad` files that are none."""
    pixels = np.asarray(Image.fromarray(skimage.data.cat()).resize((96, 64)))
    for number in range(count + bad):
        path = folder / f"{number // 100}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(np.roll(pixels, number, axis=number % 2)).save(file, "JPEG")
        path.write_bytes(b"no image" if number >= count else file.getvalue())
    return folder


def start(*words: str | Path, **variables: str) -> subprocess.Popen[str]:
    """`clipserve WORDS`, with the engine named: `auto` would measure two of them at each start."""
    return subprocess.Popen(
        [sys.executable, "-m", "clipserve", *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        env=os.environ | {"CLIPSERVE_BACKEND": "onnx"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*words: str | Path, given: str = "", **variables: str) -> tuple[int, str, str]:
    """(exit status, standard output, standard error). `given`: on its standard input."""
    process = start(*words, **variables)
    try:
        output, errors = process.communicate(given, timeout=300)
    finally:
        process.kill()
    return process.returncode, output, errors


def run_here(*words: str | Path, **variables: str) -> tuple[int, str, str]:
    """The same in this process, which has imported all: for what another process has shown of it.

    It decodes in threads: processes for that take a third of a second.
    """
    settings = {"CLIPSERVE_BACKEND": "onnx", "CLIPSERVE_DECODE_PROCESSES": "false"}
    done = CliRunner().invoke(cli, list(map(str, words)), env=settings | variables)
    return done.exit_code, done.stdout, done.stderr
