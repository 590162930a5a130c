"""`python -m tools.index_figures`: what `clipserve embed` and `search` take for a folder of many small images.

Runs are killed ten times before one ends. With `--beside OTHER`, a checkout and its `.venv`, that searches too.
"""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from clipserve.client.index import Facts, Index
from clipserve.demo import FOLDER as DEMO
from loadtests.bare_loop import bare_loops
from tests.support.process import ROOT

IMPORT = """
import re, sys, time
began = time.perf_counter()
import clipserve
clipserve.Client
took = time.perf_counter() - began
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
server = [name for name in ("fastapi", "onnxruntime", "clipserve.rest", "clipserve.wiring") if name in sys.modules]
print(f"{took * 1_000:.0f} ms, {int(peak) / 1_024:.0f} MB, of the server: {server}")
"""


def make_images(folder: Path, count: int) -> bytes:
    """So many different JPEGs of 64 x 48 pixels, a thousand to a folder; returns one."""
    pixels, content = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), b""
    for number in range(count):
        path, file = folder / f"{number // 1_000:03}" / f"{number:06}.jpg", io.BytesIO()
        path.parent.mkdir(exist_ok=True)
        pixels[number % 48, number // 48 % 64] = number % 251
        Image.fromarray(pixels).save(file, "JPEG")
        content = file.getvalue()
        path.write_bytes(content)
    return content


def start(checkout: Path, *words: str | Path) -> subprocess.Popen[bytes]:
    python = checkout / ".venv/bin/python"
    return subprocess.Popen(
        [python, "-m", "clipserve", *map(str, words)],
        cwd=checkout,
        env=os.environ | {"CLIPSERVE_BACKEND": "onnx"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def seconds_of(checkout: Path, *words: str | Path) -> float:
    began = time.monotonic()
    process = start(checkout, *words)
    said = process.communicate()[1]
    assert process.returncode == 0, said.decode()
    return time.monotonic() - began


def rows_in(index: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM items").fetchone()[0])
    except sqlite3.Error:  # it is not there yet
        return 0


def million(folder: Path, rows: int, dimensions: int = 512) -> str:
    """An exact search over so many vectors in an index."""
    vectors = np.random.default_rng(0).normal(size=(10_000, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with closing(Index(folder / "million.sqlite")) as index:
        index.begin(Facts("toy", "toy@1", dimensions))
        database = index._database
        assert database is not None
        for at in range(0, rows, len(vectors)):
            rolled = np.roll(vectors, at // len(vectors), axis=1)
            numbers = range(at + 1, at + len(vectors) + 1)
            contents = ((n, str(n), row.tobytes()) for n, row in zip(numbers, rolled, strict=True))
            database.executemany("INSERT INTO items (id, name, vector) VALUES (?, ?, ?)", contents)
        index._commit()
        took = []
        for _ in range(2):
            began = time.monotonic()
            assert index.nearest(vectors[7], 10)[0].name == "8"
            took.append(f"{time.monotonic() - began:.1f}")
        array = np.concatenate([vectors] * (rows // len(vectors)))
        began = time.monotonic()
        np.argsort(-(array @ vectors[7]), kind="stable")[:10]
        return f"{' and '.join(took)} s from the file, {time.monotonic() - began:.2f} s of numpy alone"


def main(
    images: int = 100_000,
    kills: int = 10,
    rows: int = 1_000_000,
    beside: Annotated[Path | None, typer.Option()] = None,
) -> None:
    print("import of the client:", subprocess.check_output([sys.executable, "-c", IMPORT], text=True).strip())
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "photos"
        folder.mkdir()
        one, index = make_images(folder, images), folder / ".clipserve.sqlite"
        loop = max(run(5.0) for name, run in bare_loops(DEMO, one).items() if "onnxruntime" in name)
        began = time.monotonic()
        for kill in range(kills):
            process = start(ROOT, "embed", folder)
            while rows_in(index) < images * (kill + 1) // (kills + 1) and process.poll() is None:
                time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        before = rows_in(index)
        process = start(ROOT, "embed", folder)
        said = process.communicate()[1].decode()
        took = time.monotonic() - began
        print(
            f"embed, killed {kills} times: {images / took:,.0f} images/s; the best bare loop: {loop:,.0f} images/s"
        )
        print(f"the last run, after {before:,} rows: {said.splitlines()[-1]}")
        print(
            f"rows too many or too few: {rows_in(index) - images}; the index: {index.stat().st_size / 1e6:,.0f} MB"
        )
        for checkout in [ROOT, *([beside.resolve()] if beside else [])]:
            searches = [f"{seconds_of(checkout, 'search', folder, 'a cat'):.2f}" for _ in range(3)]
            first = "" if checkout == ROOT else "; the first embeds all"
            print(f"{checkout}: search in {', '.join(searches)} s{first}")
        print(f"exact search over {rows:,} rows: {million(Path(made), rows)}")


if __name__ == "__main__":
    typer.run(main)
