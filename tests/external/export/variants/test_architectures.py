"""fp16 variants of the catalog's kinds of models. Weights are random, and layers few."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve_models.variants.job import Tower
from clipserve_models.variants.making import TOWERS, make_variant
from tests.external.export.test_export import make
from tests.external.export.test_export_tokenizer import write_gemma_tokenizer
from tests.external.export.variants.conftest import Planner
from tests.external.export.variants.faithful import assert_faithful
from tests.models.architectures import ALL, shorten

NARROW = "ViT-B-32-SigLIP2-256"  # with a quarter of the patches, too


# By day `tiny` of test_fp16.py stands for ViT-B-32's kind, and test_uint8_rule.py exports convolutions.
@pytest.mark.parametrize(
    ("name", "towers"),
    [
        pytest.param("ViT-B-32", TOWERS, marks=pytest.mark.nightly),
        pytest.param("RN50", TOWERS, marks=pytest.mark.nightly),
        pytest.param("MobileCLIP2-S0", TOWERS, marks=pytest.mark.nightly),
        pytest.param("ViT-B-16-SigLIP2", TOWERS, marks=pytest.mark.nightly),
        (NARROW, TOWERS),
        *[("ViT-L-14", TOWERS)] * ALL,
    ],
)
def test_a_model_equals_pytorch_and_its_fp16_variant_passes(
    name: str, towers: tuple[Tower, ...], plan: Planner, tmp_path: Path
) -> None:
    """The export compares with PyTorch and holds the rule of uint8, or raises; the gate judges the variant."""
    text = {}
    if "SigLIP" in name:
        text = {"vocab_size": 400, "hf_tokenizer_name": str(write_gemma_tokenizer(tmp_path / "tokenizer"))}
    said: list[str] = []
    short = shorten(tmp_path, name, text, narrow=name == NARROW)
    fp32 = make(short, None, tmp_path / "fp32", say=said.append)
    assert sum(line.endswith("ok") for line in said) == 6
    made = make_variant(plan(tmp_path / "fp32", tmp_path / "fp16", towers=towers), say=lambda _: None)
    assert_faithful(tmp_path / "fp16", made, fp32, towers)
