"""`clipserve embed` over a folder: beside a bare loop, its memory, and what an interrupted run comes to."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from loadtests.bare_loop import bare_loop
from loadtests.bodies import GRAIN, photo
from loadtests.observe import bytes_of_all, cpu_seconds_of_all

_BARE_SECONDS, _EVERY_SECONDS = 2.0, 4.0
_DONE = re.compile(r"^([\d,]+) of ")


def embed_folder(
    artifact: Annotated[Path, typer.Argument(help="The artifact; best ViT-B-32 with random weights.")],
    photos: Annotated[int, typer.Option(help="How many.")] = 5_000,
    bad: Annotated[int, typer.Option(help="Files among them that are no images.")] = 50,
    width: int = 320,
    height: int = 240,
) -> None:
    """`clipserve embed` in one go, interleaved with bare loops; then with Ctrl-C and kill -9: the same bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        image = _make(folder, photos, bad, width, height)
        size = json.loads((artifact / "model.json").read_text("utf-8"))["image"]["size"]
        cores = len(os.sched_getaffinity(0))
        loops = [bare_loop(artifact, size, image, cores, 1), bare_loop(artifact, size, image, 1, cores)]
        whole = _Run(artifact, folder, Path(scratch) / "whole.npz", rows=photos)
        rates, costs = _interleaved(whole, loops)
        parts = Path(scratch) / "parts.npz"
        first = _Run(artifact, folder, parts).until(photos // 3, signal.SIGINT)
        second = _Run(artifact, folder, parts).until(2 * photos // 3, signal.SIGKILL)
        last = _Run(artifact, folder, parts).until(sys.maxsize, signal.SIGINT)
        same = parts.read_bytes() == (Path(scratch) / "whole.npz").read_bytes()
        failed = int((np.load(parts)["error"] != "").sum())
    own = photos / whole.seconds
    best = max(statistics.median(each) for each in rates)
    typer.echo(
        f"{photos:,} JPEGs of {width} x {height}, {len(image):,} bytes, and {bad} that are none; {cores} cores"
    )
    typer.echo("| | |\n| --- | --- |")
    rows = {
        f"bare loop, {cores} x 1 thread": _told(rates[0], costs[0]),
        f"bare loop, 1 x {cores} threads": _told(rates[1], costs[1]),
        "clipserve embed": _told([own], [1_000 * whole.cpu / photos]),
        "its rate, of the better bare loop": f"{own / best:.2f}",
        "memory, with its decoders": f"{whole.early} MB at a tenth, {whole.late} MB at the end",
        "exit status: in one go, Ctrl-C, kill -9, the rest": f"{whole.status}, {first}, {second}, {last}",
        "files without a vector": f"{failed} of {bad}",
        "the same bytes as in one go": "yes" if same else "NO",
    }
    for name, value in rows.items():
        typer.echo(f"| {name} | {value} |")
    if not same or failed != bad:
        raise typer.Exit(1)


def _make(folder: Path, photos: int, bad: int, width: int, height: int) -> bytes:
    """Photos that differ, in ten folders; the first of them."""
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
    pixels = np.asarray(Image.open(io.BytesIO(photo(width, height, grain=0)))).astype(np.int16)
    grain = np.random.default_rng(0).normal(0, GRAIN, (height, width, 1)).round().astype(np.int16)
    for number in range(photos):
        mixed = np.roll(pixels, 7 * number, axis=number % 2) + np.roll(grain, number, axis=1)
        path = folder / str(number % 10) / f"{number:06}.jpg"
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(path, quality=85)
    for number in range(bad):
        (folder / str(number % 10) / f"bad{number:06}.jpg").write_bytes(b"no image" * number)
    return (folder / "0" / "000000.jpg").read_bytes()


@dataclass
class _Run:
    """One process. `seconds`: from its first row, without the time in which it was stopped."""

    artifact: Path
    folder: Path
    out: Path
    seconds: float = 0.0
    status: int = 0
    rows: int = 0  # that it will have
    early: int = 0  # MB when a tenth was done
    late: int = 0  # the most in its last five seconds
    cpu: float = 0.0  # seconds, of its decoders too
    done: int = 0
    _process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = os.environ | {"CLIPSERVE_MODELS": str(self.artifact), "CLIPSERVE_BACKEND": "onnx"}
        command = [sys.executable, "-m", "clipserve", "embed", str(self.folder), "--out", str(self.out)]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            typer.echo(f"  {line.rstrip()}", err=True)
            if told := _DONE.match(line):
                self.done = int(told[1].replace(",", ""))

    def running(self, stop: Callable[[], object] | None = None) -> Iterator[None]:
        """Until it ends. `stop` is called now and then, while the process stands still."""
        journal = self.out.with_name(f"{self.out.name}.journal")
        while not journal.exists() and self._process.poll() is None:
            time.sleep(0.05)
        began = lap = time.monotonic()
        before = cpu_seconds_of_all(self._process.pid)
        stopped = 0.0
        lately = deque([0], maxlen=25)  # of five seconds: a process that ends has given some of it back
        while self._process.poll() is None:
            yield
            lately.append(bytes_of_all(self._process.pid, "VmRSS") // 1_000_000)
            self.cpu = max(self.cpu, cpu_seconds_of_all(self._process.pid) - before)
            if not self.early and self.done > self.rows / 10:
                self.early = lately[-1]
            if stop and time.monotonic() - lap > _EVERY_SECONDS:
                lap = time.monotonic()
                self._process.send_signal(signal.SIGSTOP)
                stop()
                self._process.send_signal(signal.SIGCONT)
                stopped += time.monotonic() - lap
                lap = time.monotonic()
            time.sleep(0.2)
        self.seconds = time.monotonic() - began - stopped
        self.late = max(lately)
        self.status = self._process.wait()

    def until(self, rows: int, signum: signal.Signals) -> int:
        """Send the signal when so many rows are done; the exit status."""
        for _ in self.running():
            if self.done >= rows:
                self._process.send_signal(signum)
                rows = sys.maxsize
        return self.status


def _told(rates: list[float], costs: list[float]) -> str:
    return f"{statistics.median(rates):.1f} images/s, {statistics.median(costs):.1f} ms of CPU each"


def _interleaved(
    run: _Run, loops: list[Callable[[float], float]]
) -> tuple[list[list[float]], list[list[float]]]:
    """The rates of the bare loops, in turn, and their milliseconds of CPU time an image."""
    rates: list[list[float]] = [[] for _ in loops]
    costs: list[list[float]] = [[] for _ in loops]

    def measure() -> None:
        number = sum(map(len, rates)) % len(loops)
        before = time.process_time()
        rates[number].append(loops[number](_BARE_SECONDS))
        images = rates[number][-1] * _BARE_SECONDS
        costs[number].append(1_000 * (time.process_time() - before) / images)

    for _ in run.running(measure):
        pass
    while not all(rates):
        measure()
    return rates, costs
