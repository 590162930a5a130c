"""`auto` chooses by a rule: the processor and the model decide, and no clock."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.auto import IfNear, open_auto
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, Feeds
from clipserve.errors import BackendUnavailable
from tests.support.logs import Log

MANIFEST = read_manifest(DEMO)
FEEDS: dict[str, Feeds] = {IMAGE_GRAPH: {}, TEXT_GRAPH: {}}


@dataclass
class Remembers:
    """An engine that gives the manifest's vectors, each turned by `angle`. `fails_at`: load or run."""

    name: str
    angle: float = 0.0
    fails_at: str = ""
    loads: int = 0
    loaded: bool = False
    precision: str | None = None
    on_gpu = False

    def load(self) -> Remembers:
        if self.fails_at == "load":
            raise BackendUnavailable(f"{self.name}: no such CPU")
        self.loads += 1
        self.loaded = True
        return self

    def lost(self) -> str | None:
        return None

    def close(self) -> None:
        self.loaded = False

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        if self.fails_at == "run":
            raise RuntimeError("no such shape")
        reference = MANIFEST.reference
        stored = reference.image_embeddings if graph == IMAGE_GRAPH else reference.text_embeddings
        vectors = np.asarray(stored, np.float32)  # [n, D], of unit length
        other = np.roll(vectors, 1, axis=1)
        other -= (other * vectors).sum(axis=1, keepdims=True) * vectors  # at a right angle to each
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        return np.asarray(np.cos(self.angle) * vectors + np.sin(self.angle) * other, np.float32)


@pytest.mark.parametrize(
    ("rounding", "chosen"),
    [
        pytest.param(Remembers("bf16", np.arccos(0.9997)), "bf16", id="near"),
        pytest.param(Remembers("bf16", np.arccos(0.9993)), "exact", id="far"),
        pytest.param(Remembers("bf16", np.nan), "exact", id="no numbers"),
        pytest.param(Remembers("bf16", fails_at="load"), "exact", id="cannot be loaded"),
        pytest.param(Remembers("bf16", fails_at="run"), "exact", id="does not run"),
    ],
)
def test_the_engine_of_lower_precision_serves_only_if_its_vectors_are_near(
    rounding: Remembers, chosen: str, written: Log
) -> None:
    exact = Remembers("exact")
    opened = IfNear(rounding, exact, MANIFEST, lambda: FEEDS)
    assert opened.load().name == chosen
    assert (rounding.loaded, exact.loaded) == (chosen == "bf16", chosen == "exact"), "one alone is in memory"
    assert ("engine_passed_over" in written.getvalue()) == (chosen == "exact")


def test_the_choice_stays_when_the_engine_is_loaded_again() -> None:
    rounding, exact = Remembers("bf16"), Remembers("exact")
    opened = IfNear(rounding, exact, MANIFEST, lambda: FEEDS)
    opened.load().close()
    assert rounding.loads == 1, "not once more after it was judged"
    rounding.angle = 1.0
    assert (opened.load().name, rounding.loads, exact.loads) == ("bf16", 2, 0)


def test_an_exact_engine_that_cannot_be_loaded_ends_the_start() -> None:
    exact = Remembers("exact", fails_at="load")
    with pytest.raises(BackendUnavailable, match="exact: no such CPU"):
        IfNear(Remembers("bf16", 1.0), exact, MANIFEST, lambda: FEEDS).load()


@pytest.mark.parametrize(
    ("cuda", "precision", "bf16", "openvino"),
    [
        (False, "fp32", True, True),
        (False, "fp32", False, False),
        (False, "int8", True, False),
        (True, "fp32", True, False),
    ],
)
def test_openvino_is_for_models_of_fp32_on_cpus_with_bf16(
    cuda: bool, precision: str, bf16: bool, openvino: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipserve.engine.backends.auto.computes_bf16", lambda: bf16)
    manifest = MANIFEST.model_copy(update={"precision": precision})
    chosen = open_auto(DEMO, manifest, EngineOptions(cuda), lambda: FEEDS)
    assert isinstance(chosen, IfNear if openvino else OnnxEngine)


def test_a_start_with_openvino_that_sees_no_gpu_imports_no_other_engine() -> None:
    program = """
import sys
from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import read_manifest
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER
from clipserve.engine import cuda
from clipserve.engine.backends import auto
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import EngineOptions
auto.computes_bf16 = lambda: True
manifest = read_manifest(FOLDER)
auto.open_openvino = lambda *_: OpenVinoEngine(FOLDER, 1)  # in fp32, whose vectors are near on any CPU
cuda.gpus = lambda: ""
assert not cuda.chosen("auto")
feeds = lambda: reference_feeds(manifest, load_tokenizer(FOLDER, manifest.text))
engine = auto.open_auto(FOLDER, manifest, EngineOptions(), feeds).load()
print(engine.name, "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "openvino False"
