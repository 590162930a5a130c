"""Models that transformers and open_clip saved, built from their files: bytes and strings give their vectors.

`-rP` prints the lowest cosines. tests/external/export shows that the libraries still compute what is stored.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from clipserve.clip.manifest import Source
from clipserve_models.build import build
from clipserve_models.layouts import read
from clipserve_models.verify import Graph
from tests.models.layouts.saved import check, stored

SOURCE = Source(checkpoint="a test's", licence="none", random_weights=True)
LARGE = ("SigLIP of timm", "MobileCLIP-B", "BiomedCLIP")  # whose names say their sizes


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * each.endswith(LARGE)) for each in stored()]
)
def test_a_saved_model_computes_what_its_library_computes(name: str, tmp_path: Path) -> None:
    saved, artifact = stored()[name], tmp_path / "artifact"
    saved.write(tmp_path / "files")
    checkpoint = read(tmp_path / "files")
    expected = saved.computed
    assert expected
    for which in ("image", "text"):
        tower = getattr(checkpoint.architecture, which)
        assert [tower.heads, tower.epsilon, getattr(tower, "activation", "relu")] == expected.towers[which]
    scoring = build(checkpoint, artifact, name="model", source=SOURCE, say=lambda _: None).scoring
    assert scoring.logit_scale == pytest.approx(expected.scale, rel=1e-6)
    assert (scoring.logit_bias if scoring.function == "sigmoid" else None) == expected.bias
    opened = cache(lambda graph: Graph(artifact / graph))
    check(artifact, expected, lambda graph, feeds: opened(graph).run(feeds), 0.999999, 1e-5)
