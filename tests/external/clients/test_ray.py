"""The recipe for Ray, on a cluster of two nodes of which one is killed at its work."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import clipserve
from loadtests.observe import process_tree
from loadtests.process import free_port
from tests.external.clients.environments import installed
from tests.support.process import ROOT
from tools.markdown import blocks

SECONDS = 3600  # for 20,000 photos, on a busy machine
PYTHON = ROOT / "tests/docs/recipes/bulk-ray.txt"


class Cluster:
    """Two nodes of one core each on this machine, and the recipe's program."""

    def __init__(self, home: Path) -> None:
        self._home, self._python = home, installed(PYTHON)
        self._address = f"127.0.0.1:{free_port()}"
        page = (ROOT / "docs/recipes/bulk-ray.md").read_text()
        (program,) = (block.text for block in blocks(page) if block.file_name)
        (home / "bulk.py").write_text(program)
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.programs: list[subprocess.Popen[str]] = []

    def start_both(self) -> None:
        port = self._address.partition(":")[2]
        self.start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._home}/ray")
        self.start(f"--address={self._address}")

    def _environment(self, **settings: str) -> dict[str, str]:
        own = {"HOME": str(self._home), "RAY_ADDRESS": self._address, "CLIPSERVE_BACKEND": "onnx"}
        return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **own, **settings}

    def start(self, *options: str) -> None:
        """A node, which takes part when this returns."""
        here = ("--block", "--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0")
        small = ("--num-cpus=1", "--object-store-memory=100000000")
        command = [str(self._python.with_name("ray")), "start", *here, *small, *options]
        log = self._home / f"node-{len(self.nodes)}.log"
        with log.open("wb") as file:
            node = subprocess.Popen(command, env=self._environment(), stdout=file, stderr=file)
        self.nodes.append(node)
        until(lambda: "Ray runtime started" in log.read_text(), lambda: node.poll() is None, log.read_text)

    def program(self, *arguments: str | Path, **settings: str) -> subprocess.Popen[str]:
        command = [self._python, self._home / "bulk.py", *arguments]
        out, own = subprocess.PIPE, self._environment(**settings)
        self.programs.append(subprocess.Popen(command, env=own, stdout=out, stderr=out, text=True))
        return self.programs[-1]

    def kill(self, number: int) -> None:
        """As if its machine were switched off: all of its processes end at once."""
        for pid in process_tree(self.nodes[number].pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.nodes[number].wait(60)

    def writes(self, number: int, folder: Path) -> bool:
        """Whether this node is in the middle of a file."""
        for pid in process_tree(self.nodes[number].pid):
            with suppress(OSError):
                for opened in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        if opened.readlink().is_relative_to(folder):
                            return True
        return False


def until(true: Callable[[], bool], alive: Callable[[], bool], told: Callable[[], str] = str) -> None:
    """Wait for it, as long as `alive`."""
    began = time.monotonic()
    while not true():
        assert alive(), told()
        assert time.monotonic() - began < SECONDS
        time.sleep(0.005)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="ray-"))  # Ray's sockets must have short names
    made = Cluster(home)
    try:
        made.start_both()
        yield made
    finally:
        for number in reversed(range(len(made.nodes))):
            made.kill(number)
        for program in made.programs:
            program.kill()
        shutil.rmtree(home)


def photo(number: int) -> bytes:
    colours = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def everything(folder: Path, count: int) -> dict[str, bytes]:
    """Photos in folders, two tars and two Parquet files, one of paths, and one photo that is none: id to bytes."""
    photos = {f"{number // 1000:03}/{number:06}.jpg": photo(number) for number in range(count)}
    photos["000/none.jpg"] = b"no image"
    for name, content in photos.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    others = [photo(count + number) for number in range(8)]
    for name in ("a.tar", "b.tar"):
        with tarfile.open(folder / name, "w") as tar:
            for number, content in enumerate(others[:3]):
                member = tarfile.TarInfo(f"{number}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                tar.addfile(tarfile.TarInfo(f"{number}.txt"))
                photos[f"{name}/{number}.jpg"] = content
    table = {"id": ["first", "second"], "image": [{"bytes": each, "path": None} for each in others[3:5]]}
    parquet.write_table(pyarrow.table(table), folder / "bytes.parquet")
    parquet.write_table(pyarrow.table({"image": ["000/000000.jpg", None]}), folder / "paths.parquet")
    rows = {"paths.parquet/0": photos["000/000000.jpg"], "paths.parquet/1": b""}
    return photos | dict(zip(("first", "second"), others[3:5], strict=True)) | rows


def assert_table(out: Path, photos: dict[str, bytes], checked: int = 300) -> None:
    """Each photo once, in one space, with the vector that `clipserve.Clip` gives it."""
    table = parquet.read_table(out)
    assert sorted(table["id"].to_pylist()) == sorted(photos)
    with clipserve.Clip(backend="onnx") as clip:
        fingerprint = clip.served_by().fingerprint
        some = table.to_pylist()[:: max(1, len(table) // checked)]
        expected = clip.embed_images([photos[row["id"]] for row in some])
    assert set(table["fingerprint"].to_pylist()) == {fingerprint}
    for file in out.glob("*.parquet"):
        assert parquet.read_schema(file).metadata[b"fingerprint"].decode() == fingerprint
    for number, (row, vector) in enumerate(zip(some, expected.vectors, strict=True)):
        if number in expected.errors:
            assert (row["vector"], row["error"]) == (None, str(expected.errors[number]))
        else:
            np.testing.assert_array_equal(np.array(row["vector"], np.float32), vector)
            assert row["error"] is None
    bad = [row["id"] for row in table.select(["id", "error"]).to_pylist() if row["error"]]
    assert sorted(bad) == sorted(name for name, content in photos.items() if len(content) < 100)


def result(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit status, its line without Ray's own, what it said of failures)."""
    printed, told = program.communicate(timeout=SECONDS)
    own = [line for line in printed.splitlines() if line.endswith(" files")]
    return program.returncode, "".join(own), told


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_a_node_that_is_killed_costs_nothing_but_time(cluster: Cluster, tmp_path: Path, count: int) -> None:
    photos, out = everything(tmp_path / "in", count), tmp_path / "out"
    (tmp_path / "in/damaged.tar").write_bytes((tmp_path / "in/a.tar").read_bytes()[:700])
    of_a_shard = max(50, count // 50)
    arguments = (tmp_path / "in", out, "--photos", str(of_a_shard))

    program = cluster.program(*arguments)
    until(lambda: cluster.writes(1, out), lambda: program.poll() is None)
    cluster.kill(1)
    status, printed, told = result(program)

    files = -(-(count + 1) // of_a_shard) + 4
    assert printed == f"{len(photos)} photos, 2 with an error, {files} files", told
    assert (status, told.splitlines()[-1].partition(":")[0]) == (1, "damaged.tar")
    assert len(list(out.iterdir())) == files + 1, "nothing unfinished is left"
    assert_table(out, photos)

    (tmp_path / "in/damaged.tar").unlink()
    written = {file: file.stat().st_mtime_ns for file in out.iterdir()}
    again = result(cluster.program(*arguments))
    assert again[:2] == (0, "0 photos, 0 with an error, 0 files"), again[2]
    status, _, told = result(cluster.program(*arguments, CLIPSERVE_EXIF_TRANSPOSE="false"))
    assert status == 1
    assert "vectors of the two cannot be compared" in told
    assert {file: file.stat().st_mtime_ns for file in out.iterdir()} == written
