"""The newcomer's path, over real HTTP with the real demo model and real photographs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

TEN = ["cat", "dog", "car", "coffee", "rocket", "house", "tree", "person", "bicycle", "guitar"]


def classify(url: str, image: bytes, labels: list[str]) -> dict[str, Any]:
    answer = httpx.post(f"{url}/classify", files={"image": image}, data={"labels": labels}, timeout=30)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("name", ["cat", "coffee", "rocket"])
def test_photographs_among_ten_labels(demo: str, photos: dict[str, bytes], name: str) -> None:
    best = classify(demo, photos[name], TEN)["results"][0]["labels"][0]
    assert best["label"] == name
    assert best["score"] >= 0.9
