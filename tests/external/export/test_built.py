"""Graphs that are built from weights beside those that PyTorch's exporter traces: `pytest -rP` shows the figures.

`BUILT_MODEL=ViT-B-32-quickgelu` compares a whole model of open_clip, of those with its own tokenizer; by default
that one has two blocks.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.manifest import Source
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.verify import Feeds, session_of
from tests.external.export.test_export import entry
from tests.models.architectures import shorten

pytestmark = pytest.mark.filterwarnings("ignore")  # as `export` does

MODEL = os.environ.get("BUILT_MODEL")
ROUNDS = 15


@dataclass(frozen=True)
class Pair:
    """Two artifacts of the same weights, and the seconds to make each."""

    traced: Path
    built: Path
    seconds: tuple[float, float]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    from clipserve_models.build import build
    from clipserve_models.export import export
    from clipserve_models.layouts import read

    folder = tmp_path_factory.mktemp("pair")
    name = MODEL or shorten(folder, "ViT-B-32-quickgelu")
    (folder / "weights").mkdir()
    save(name, folder / "weights")
    source = Source(checkpoint="random weights", licence="none", random_weights=True)

    def trace() -> None:
        export(entry(name), folder / "traced", random_weights=True, say=lambda _: None)

    def write() -> None:
        checkpoint = read(folder / "weights")
        build(checkpoint, folder / "built", name="built", source=source, say=lambda _: None)

    return Pair(folder / "traced", folder / "built", (seconds(trace), seconds(write)))


def save(name: str, folder: Path) -> None:
    """The weights that `export` draws, as open_clip publishes a model."""
    import open_clip
    from safetensors.torch import save_file

    from clipserve_models import checkpoint

    model, _ = checkpoint.load(entry(name), weights=None, random_weights=True, seed=0)
    images = {
        key: model.visual.preprocess_cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")
    }
    told = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": images}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )


def seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def feeds(folder: Path, graph: str) -> Feeds:
    manifest = read_manifest(folder)
    if graph == IMAGE_GRAPH:
        return {"pixels": reference_pixels(manifest.image.size)}
    tokenizer = load_tokenizer(folder, manifest.text)
    token_ids, lengths = tokenizer.pad(tokenizer.encode(REFERENCE_TEXTS), 12)
    return {"token_ids": token_ids, "lengths": lengths}


def test_both_have_the_same_facts(pair: Pair) -> None:
    traced, built = read_manifest(pair.traced), read_manifest(pair.built)
    assert (built.image, built.text) == (traced.image, traced.text)
    assert built.scoring.function == traced.scoring.function
    assert built.scoring.logit_scale == pytest.approx(traced.scoring.logit_scale, rel=1e-6)
    assert built.scoring.logit_bias == traced.scoring.logit_bias
    assert built.reference.token_ids == traced.reference.token_ids
    assert built.reference.pixels == traced.reference.pixels


@pytest.mark.parametrize("graph", [IMAGE_GRAPH, TEXT_GRAPH])
def test_built_graphs_are_the_traced_ones_in_fewer_nodes(pair: Pair, graph: str) -> None:
    import onnx

    vectors = [
        session_of(folder / graph).run(None, dict(feeds(pair.traced, graph)))[0]
        for folder in (pair.traced, pair.built)
    ]
    nodes = [len(onnx.load(folder / graph).graph.node) for folder in (pair.traced, pair.built)]
    sizes = [(folder / graph).stat().st_size for folder in (pair.traced, pair.built)]
    difference = np.abs(vectors[0] - vectors[1]).max()
    print(f"{graph}: difference {difference:.1e}; traced, built: {nodes} nodes, {sizes} bytes")
    assert difference < 2e-6
    assert nodes[1] <= nodes[0]
    assert sizes[1] <= 1.001 * sizes[0]


def test_they_take_the_same_time(pair: Pair) -> None:
    """Calls alternate. No bound: it would depend on what else the machine does."""
    print(f"made in {pair.seconds[0]:.1f} s traced, {pair.seconds[1]:.1f} s built")
    for graph, count in ((IMAGE_GRAPH, 8), (TEXT_GRAPH, 32)):
        inputs = {
            name: np.resize(each, (count, *each.shape[1:]))
            for name, each in feeds(pair.traced, graph).items()
        }
        sessions = [session_of(folder / graph) for folder in (pair.traced, pair.built)]
        taken: list[list[float]] = [[], []]
        used: list[list[float]] = [[], []]
        for _ in range(ROUNDS):
            for which, session in enumerate(sessions):
                started, cpu = time.perf_counter(), time.process_time()
                session.run(None, inputs)
                taken[which].append(time.perf_counter() - started)
                used[which].append(time.process_time() - cpu)
        rates = [count / statistics.median(each) for each in taken]
        ratio = statistics.median(used[1]) / statistics.median(used[0])
        print(
            f"{graph}: {rates[0]:.1f} rows/s traced, {rates[1]:.1f} built; "
            f"CPU of a call, built / traced: {ratio:.3f}"
        )
        assert min(rates) > 0
