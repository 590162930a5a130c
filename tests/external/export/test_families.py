"""Exported models of each family give, of photos and strings, what open_clip gives in PyTorch.

Weights are random. `-rP` prints the lowest cosines.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clipserve.cores import usable_cores
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import Engine, EngineOptions
from tests.external.export.families import FAMILIES, add_family
from tests.external.export.saved_models import by_open_clip
from tests.external.export.test_export import load, make
from tests.models.layouts.saved import Computed, check
from tests.support.process import ROOT

BY_DAY = ("XLM-R",)  # what no other test exports


@pytest.fixture(
    scope="module",
    params=[pytest.param(each, marks=[pytest.mark.nightly] * (each not in BY_DAY)) for each in FAMILIES],
)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Computed]:
    """An artifact, and what open_clip's own transform, tokenizer and encoders give with the same weights."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    folder = tmp_path_factory.mktemp("family")
    name = add_family(folder, request.param)
    make(name, folder / "artifact", say=lambda _: None)
    model = load(name)
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return folder / "artifact", by_open_clip(model, transform, open_clip.get_tokenizer(name), [])


@pytest.mark.parametrize(
    "engine",
    [
        lambda folder: OnnxEngine(folder, EngineOptions(threads=usable_cores())),
        lambda folder: OpenVinoEngine(folder, usable_cores(), precision="f32"),
    ],
    ids=["onnxruntime", "OpenVINO"],
)
def test_the_vectors_are_pytorch_s(engine: Callable[[Path], Engine], exported: tuple[Path, Computed]) -> None:
    artifact, expected = exported
    loaded = engine(artifact)
    loaded.load()
    check(artifact, expected, loaded.run, 0.9999, 1e-3)
    loaded.close()


def test_the_document_names_the_families() -> None:
    rows = [f"| {family} | `{model}` |" for family, (model, _) in FAMILIES.items()]
    table = "\n".join(["| family | example |", "| --- | --- |", *rows, ""])
    assert table in (ROOT / "docs/models.md").read_text("utf-8")
