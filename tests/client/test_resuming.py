"""`embed_images` with an index: a program that was ended goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import clipserve
from clipserve.client.index import IndexUnusable
from tests.commands.files import photos
from tests.commands.hostile import EMBEDDED, GOOD, MODEL, MODELS, body, good_but, path_of, serving


def test_images_of_an_index_are_not_embedded_again(tmp_path: Path) -> None:
    folder, told = photos(tmp_path / "photos", 2, bad=1) / "0", list[tuple[int, int]]()
    paths = sorted(folder.iterdir())
    refusal = body({"code": "unsupported_format", "detail": "it is no image."}, 415)

    def answers(request: bytes):  # type: ignore[no-untyped-def]
        if path_of(request) == "/embed" and request.endswith(b"no image"):
            return refusal
        return body(GOOD[path_of(request)])

    def report(done: int, total: int) -> None:
        told.append((done, total))

    with serving(answers) as (url, requests), clipserve.Client(url) as clip:

        def embedded() -> int:
            before = len(requests)
            made = clip.embed_images(paths, index=tmp_path / "a.sqlite", progress=report)
            assert (made.fingerprint, [*made.errors]) == ("toy@1", [2])
            assert made.errors[2].code == "unsupported_format"
            assert made.vectors[:2].tolist() == [[1, 0], [1, 0]]
            assert np.isnan(made.vectors[2]).all()
            return sum(path_of(each) == "/embed" for each in requests[before:])

        assert [embedded(), embedded()] == [3, 1], "what has failed is tried again"
        assert told == [(0, 3), (3, 3), (2, 3), (3, 3)]
        os.utime(paths[0], ns=(7, 7))
        assert embedded() == 2
        with pytest.raises(TypeError, match="with an index an image is a path, not bytes"):
            clip.embed_images([b"..."], index=tmp_path / "a.sqlite")


def test_vectors_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    (path,) = photos(tmp_path / "photos", 1).rglob("*.jpg")
    with serving(good_but({})) as (url, _), clipserve.Client(url) as clip:
        clip.embed_images([path], index=tmp_path / "a.sqlite")
    other = {
        "/v1/models": body(MODELS | {"data": [MODEL | {"fingerprint": "toy@2"}]}),
        "/embed": body(EMBEDDED | {"fingerprint": "toy@2"}),
    }
    with (
        serving(good_but(other)) as (url, _),
        clipserve.Client(url) as clip,
        pytest.raises(IndexUnusable, match=r"toy@1.*toy@2"),
    ):
        clip.embed_images([path], index=tmp_path / "a.sqlite")
    changed = good_but({"/embed": body(EMBEDDED | {"fingerprint": "toy@2"})})
    with serving(changed) as (url, _), clipserve.Client(url) as clip:
        os.utime(path, ns=(7, 7))
        with pytest.raises(clipserve.ClipserveError, match=r"makes vectors of toy@2"):
            clip.embed_images([path], index=tmp_path / "a.sqlite")
