"""Sizes of encoder calls: the device has its own, and what is set counts."""

from __future__ import annotations

import pytest

from clipserve.engine.calls import Calls
from clipserve.settings import ModelSettings, Settings, as_markdown


def test_a_cpu_has_small_calls_and_a_gpu_large_ones() -> None:
    settings = ModelSettings()
    assert settings.calls(on_gpu=False) == Calls(1, 16, 32, 96, threads=0)
    assert settings.calls(on_gpu=True) == Calls(2, 64, 256, 4_096, threads=1)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_set_counts_on_both(on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSERVE_MAX_BATCH_IMAGES", "12")
    monkeypatch.setenv("CLIPSERVE_MODEL_SETTINGS", '{"a": {"threads": 5, "max_batch_texts": 64}}')
    own = Settings().of_model("a").calls(on_gpu=on_gpu)
    assert (own.threads, own.max_batch_images, own.max_batch_texts) == (5, 12, 64)
    assert own.max_batch_tokens == (4_096 if on_gpu else 192), "in proportion to the texts"


def test_with_fewer_texts_in_a_call_it_takes_no_fewer_tokens() -> None:
    assert ModelSettings(max_batch_texts=8).calls(on_gpu=False).max_batch_tokens == 96
    assert ModelSettings(max_batch_texts=512).calls(on_gpu=True).max_batch_tokens == 8_192


def test_the_table_has_both_defaults() -> None:
    rows = dict(row.split(" | ")[:2] for row in as_markdown().splitlines()[2:])
    assert rows["| `CLIPSERVE_MAX_BATCH_IMAGES`"] == "`16, on a GPU 64`"
    assert rows["| `CLIPSERVE_THREADS`"] == "`0`"
