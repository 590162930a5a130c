"""Label sets that are refused, with nothing kept: the faults that a set can have on both fronts.

tests/fronts compares the two fronts' answers to such sets. What JSON or a message alone can have wrong is in
tests/rest/test_label_sets_refused.py and tests/rpc/test_label_set_refusals.py.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest

from clipserve.errors import (
    BadPromptTemplate,
    ClipError,
    InvalidInput,
    TextTooLong,
    TooMany,
    UndecodableImage,
    UnknownModel,
    UnsupportedFormat,
)
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.trained import BIASES, WEIGHTS, encoded, trained
from tests.support import png

Case = tuple[dict[str, Any], type[ClipError], str]

BAD: list[Case] = [
    ({"labels": []}, InvalidInput, "at least one label"),
    ({"labels": ["a", " "]}, InvalidInput, "label 1 is empty"),
    ({"labels": ["a", {"label": "a"}]}, InvalidInput, "label 1 is the same as label 0"),
    ({"labels": ["a"], "background": ["a"]}, InvalidInput, "background label 0 is the same as label 0"),
    ({"labels": [f"{i}" for i in range(1_001)]}, TooMany, "1,001 labels; the limit is 1,000"),
    (
        {"labels": [{"label": "a", "id": "x"}, {"label": "b", "id": "x"}]},
        InvalidInput,
        "id of label 1",
    ),
    ({"labels": [{"label": "a", "id": "\n"}]}, InvalidInput, "label 0: its id must"),
    ({"labels": [{"label": "a", "id": ""}]}, InvalidInput, "label 0: its id must"),
    ({"labels": [{"label": "a", "id": "7" * 129}]}, TextTooLong, "label 0: its id has 129 characters"),
    ({"labels": [{"label": "a", "prompts": ["b", "b"]}]}, InvalidInput, "label 0: it has a prompt twice"),
    ({"labels": [{"label": "a", "prompts": [" "]}]}, InvalidInput, "label 0: it has an empty prompt"),
    ({"labels": [{"label": "a", "prompts": ["b" * 1_025]}]}, TextTooLong, "1,025 characters"),
    (
        {"labels": [{"label": "a", "prompts": ["{}" * 9]}]},
        BadPromptTemplate,
        "label 0: a prompt has 9 slots",
    ),
    ({"labels": ["a" * 20]}, TextTooLong, "label 0 makes a prompt of"),
    ({"labels": ["a", {"label": "b", "prompts": ["c" * 20]}]}, TextTooLong, "label 1 makes a prompt of"),
    (
        {"labels": [{"label": "a", "threshold": 2}]},
        InvalidInput,
        "label 0: threshold is 2; it must be",
    ),
    ({"temperature": 0}, InvalidInput, "temperature is 0; it must be from 0.001"),
    ({"threshold": -3}, InvalidInput, "threshold is -3"),
    ({"example_weight": 1.5}, InvalidInput, "example_weight is 1.5"),
    ({"templates": ["no slot"]}, BadPromptTemplate, "template 0 has no slot"),
    ({"model": "other"}, UnknownModel, "no model .other. is served"),
    (
        {"labels": ["a", {"label": "b", "examples": [png(), b"no image"]}]},
        UnsupportedFormat,
        "example 1 of label 1",
    ),
    ({"labels": ["a", {"label": "b", "examples": [png()[:50]]}]}, UndecodableImage, "example 0 of label 1"),
    (
        {"labels": ["a", {"label": "b", "examples": [UndecodableImage("it is no base64")]}]},
        UndecodableImage,
        "example 0 of label 1: it is no base64",
    ),
    ({"labels": [{"label": "a", "examples": [bytes(8_000_000)]}]}, TooMany, "bytes in the label set"),
    ({"labels": [{"label": "a", "examples": [b""] * 1_001}]}, TooMany, "1,001 example images"),
]

_LARGE = WEIGHTS.copy()
_LARGE[1, 3] = -2e6
BAD_TRAINED: list[Case] = [
    (fields, InvalidInput, words)
    for fields, words in (
        ({"expect_fingerprint": None}, "give its fingerprint, expect_fingerprint"),
        ({"expect_fingerprint": ""}, "give its fingerprint, expect_fingerprint"),
        ({"weights": "!" + encoded()[1:]}, "weights is not valid base64"),
        ({"weights": "\u00e9" + encoded()[1:]}, "weights is not valid base64"),
        ({"weights": encoded()[:-4] + "\n" + encoded()[-3:]}, "weights is not valid base64"),
        ({"weights": ""}, "weights has 0 bytes, and 3 labels of toy need 192"),
        ({"weights": WEIGHTS.tobytes() + b"\0"}, "weights has 193 bytes"),
        ({"weights": encoded(WEIGHTS[:2])}, "weights has 128 bytes"),
        ({"weights": base64.b64encode(WEIGHTS.astype(float).tobytes()).decode()}, "weights has 384 bytes"),
        ({"weights": encoded(np.full_like(WEIGHTS, np.nan))}, "a weight of label 0 is nan"),
        ({"weights": encoded(np.full_like(WEIGHTS, np.inf))}, "a weight of label 0 is inf"),
        ({"weights": encoded(_LARGE)}, "a weight of label 1 is -2e\\+06"),
        ({"biases": BIASES[:2]}, "there are 2 biases for 3 labels"),
        ({"biases": [*BIASES, 0]}, "there are 4 biases for 3 labels"),
        ({"biases": [0, 1e300, 0]}, "the bias of label 1 is 1e\\+300"),
        ({"weights": None}, "biases belong to weights"),
        ({"templates": ["a {}"]}, "a set has weights or templates, and not both"),
        ({"background": ["else"]}, "a set has weights or background, and not both"),
        ({"truncate": True}, "a set has weights or truncate, and not both"),
        ({"labels": ["a", {"label": "b", "prompts": ["c"]}, "d"]}, "label 1 has prompts"),
        ({"labels": ["a", "b", {"label": "c", "examples": [png()]}]}, "label 2 has examples"),
        ({"scoring": "cosine"}, "its score is no cosine"),
    )
]


async def refused(open_site: OpenSite, fields: dict[str, Any], kind: type[ClipError], words: str) -> None:
    site = await open_site(store := MemoryStore())
    if "weights" in fields or "biases" in fields:
        fields = {"expect_fingerprint": site.fingerprint} | fields
    with pytest.raises(kind, match=words) as raised:
        await site.put(**fields)
    assert type(raised.value) is kind
    if re.search(r"^label 1|of label 1", words):
        assert raised.value.index == 1
    assert site.sets.all() == []
    assert not await store.heads("sets")


@pytest.mark.parametrize(("fields", "kind", "words"), BAD)
async def test_what_cannot_be_a_set_is_said_and_nothing_is_kept(
    open_site: OpenSite, fields: dict[str, Any], kind: type[ClipError], words: str
) -> None:
    await refused(open_site, fields, kind, words)


@pytest.mark.parametrize(("fields", "kind", "words"), BAD_TRAINED)
async def test_what_weights_cannot_be_is_said_and_nothing_is_kept(
    open_site: OpenSite, fields: dict[str, Any], kind: type[ClipError], words: str
) -> None:
    whole = trained("", **fields)
    if "expect_fingerprint" not in fields:
        del whole["expect_fingerprint"]
    await refused(open_site, whole, kind, words)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\nb", "a@b", ".a", "a" * 65, "ä", "a b"])
async def test_a_name_is_a_plain_word(open_site: OpenSite, name: str) -> None:
    store = MemoryStore()
    site = await open_site(store)
    with pytest.raises(InvalidInput, match="the name of a label set has 1 to 64"):
        await site.put(name)
    with pytest.raises(InvalidInput, match="the name of a label set has 1 to 64"):
        await site.sets.delete(name)
    assert not await store.heads("sets")
