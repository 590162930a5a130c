"""The stored references are what the reference libraries give today."""

from __future__ import annotations

import json


def test_pixels_are_still_torchvision_s() -> None:
    from tests.golden.make_pixels import DIGESTS, digests

    assert digests() == json.loads(DIGESTS.read_text())


def test_tokens_are_still_open_clip_s() -> None:
    import gzip

    from open_clip import SimpleTokenizer

    from tests.golden.make_tokens import TOKENS

    reference = SimpleTokenizer()
    for text, ids in json.loads(gzip.decompress(TOKENS.read_bytes())):
        assert [reference.sot_token_id, *reference.encode(text), reference.eot_token_id] == ids, repr(text)


def test_the_stored_tokenizer_is_still_open_clip_s() -> None:
    import gzip

    from open_clip import SimpleTokenizer

    from clipserve_models.layouts.texts import OPEN_CLIP
    from tests.golden.clip_tokenizer import clip_tokenizer

    assert clip_tokenizer(SimpleTokenizer()).to_str().encode() == gzip.decompress(OPEN_CLIP.read_bytes())
