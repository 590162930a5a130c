"""CLIP's tokenizer.json, through the service's tokenizer, against ids stored from open_clip."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from clipserve.clip.tokenizer import Tokenizer
from clipserve_models.layouts.texts import open_clip_texts
from tests.models.towers import CLIP

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = open_clip_texts(replace(CLIP.text, context_length=100_000))
    return Tokenizer(texts.spec, texts.tokenizer)


def test_ids_equal_open_clips_on_ten_thousand_strings(tokenizer: Tokenizer) -> None:
    pairs = json.loads(gzip.decompress((GOLDEN / "tokens.json.gz").read_bytes()))
    rows = tokenizer.encode([text for text, _ in pairs])
    wrong = [text for (text, ids), row in zip(pairs, rows, strict=True) if row.ids != ids]
    assert len(pairs) == 10_000
    assert not wrong, f"{len(wrong)} differ, first: {wrong[0]!a}"
