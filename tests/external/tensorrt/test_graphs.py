"""TensorRT's own parser and builder, on a CPU: the demo and a model of each family, in each precision.

    make test-all ONLY=tensorrt

The builder is that of TensorRT for RTX, which builds ahead of time, without a device, for compute capability 8.0.
So it is no proof for the TensorRT in Triton's image or for an H100, and none of numbers.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import reference_pixels
from clipserve.demo import FOLDER as DEMO
from clipserve_models import triton_towers
from clipserve_models.graphs.file import stored
from clipserve_models.triton_options import options_of
from clipserve_models.triton_plans import command
from clipserve_models.triton_towers import towers
from clipserve_models.variants.fp16 import halve
from clipserve_models.variants.int8 import write_int8
from clipserve_models.variants.making import GRAPHS, Tower
from clipserve_models.verify import Feeds
from tests.external.clients.environments import installed
from tests.external.export.families import FAMILIES, add_family
from tests.external.export.test_export import make

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs" / "triton.md"

# `export` ignores the warnings of torch, too.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def python() -> Path:
    return installed(HERE / "tensorrt-rtx.txt")


@pytest.mark.parametrize("family", ["demo", *FAMILIES])
def test_the_document_says_what_it_builds_and_what_it_refuses(
    family: str, python: Path, tmp_path: Path
) -> None:
    source = DEMO
    if family != "demo":
        source = tmp_path / "artifact"
        make(add_family(tmp_path, family), source, say=lambda _: None)
    manifest = read_manifest(source)
    cells = []
    for tower, of_triton in zip(GRAPHS, towers(manifest, options_of("tensorrt")), strict=True):
        shapes = json.dumps([shapes_of(of_triton)])
        for path in (
            source / GRAPHS[tower],
            in_half(source, tower, tmp_path),
            in_int8(source, tower, manifest, tmp_path),
        ):
            if path is None:
                cells.append("-")
                continue
            onnx.checker.check_model(path, full_check=True)  # its shapes, strictly
            run: list[str | Path] = [python, HERE / "builder.py", path, shapes]
            answer = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
            cells.append("built" if answer["built"] else "refused")
            print(f"{family}, {path.name}: {answer}")
    row = f"| {family} | {' | '.join(cells)} |"
    print(row)
    assert row in DOCUMENT.read_text("utf-8").splitlines()


def shapes_of(tower: triton_towers.Tower) -> dict[str, dict[str, list[int]]]:
    """Of the longest rows: what a plan takes."""
    words = [word for word in command(tower, "plan") if "Shapes=" in word][-3:]
    found = {}
    for name, word in zip(("smallest", "usual", "largest"), words, strict=True):
        inputs = (each.split(":") for each in word.partition("=")[2].split(","))
        found[name] = {tensor: [int(side) for side in dims.split("x")] for tensor, dims in inputs}
    return found


def in_half(source: Path, tower: Tower, folder: Path) -> Path | None:
    """The graph as an fp16 variant has it, written without the gate; None for the demo and for traced texts."""
    if not stored(source / GRAPHS[tower]) and (tower == "text" or source == DEMO):
        return None
    path = folder / f"{tower}-fp16.onnx"
    halve(source / GRAPHS[tower], path)
    return path


def in_int8(source: Path, tower: Tower, manifest: ModelManifest, folder: Path) -> Path | None:
    """With ranges of one feed; None for a traced text, which needs feeds of its own language."""
    if tower == "text" and not stored(source / GRAPHS[tower]):
        return None
    path = folder / f"{tower}-int8.onnx"
    length = manifest.text.lengths[-1]
    feeds: Feeds = (
        {"pixels": reference_pixels(manifest.image.size)}
        if tower == "image"
        else {"token_ids": np.ones((2, length), np.int32), "lengths": np.array([length, 5], np.int32)}
    )
    write_int8(source / GRAPHS[tower], path, [feeds])
    return path
