"""Stores keep one fingerprint, here without the libraries: tests/external/clients/within_stores.py has those."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipserve
from clipserve.client.errors import FingerprintChanged, ItemFailed
from clipserve.client.stores import open_beside, rows
from tests.process import ROOT

OTHER = "other@fp32-0123456789ab"


@pytest.fixture(params=["Clip", "Client"])
def clip(request: pytest.FixtureRequest, demo: str, in_process: clipserve.Clip) -> Iterator[Any]:
    if request.param == "Clip":
        yield in_process
    else:
        with clipserve.Client(demo) as client:
            yield client


def test_a_new_store_gets_the_fingerprint_of_the_model_and_opens_again(clip: Any, tmp_path: Path) -> None:
    store = tmp_path / "index"
    served = open_beside(f"{store}/", clip)
    assert served == clip.served_by()
    assert (tmp_path / "index.fingerprint").read_text() == f"{served.fingerprint}\n"
    store.mkdir()
    assert open_beside(store, clip) == served


def test_a_store_of_another_model_is_refused_in_words_that_say_what_to_do(clip: Any, tmp_path: Path) -> None:
    (tmp_path / "index.fingerprint").write_text(OTHER)
    with pytest.raises(FingerprintChanged) as refused:
        open_beside(tmp_path / "index", clip)
    assert refused.value.code == "wrong_fingerprint"
    for words in (str(tmp_path / "index"), OTHER, clip.served_by().fingerprint, "embed everything again"):
        assert words in refused.value.detail


class Begun:
    """The path of a new store, of which another process writes the fingerprint when it is looked for."""

    def __init__(self, store: Path) -> None:
        self._store, self._asked = store, 0

    def __fspath__(self) -> str:
        self._asked += 1
        if self._asked == 2:
            Path(f"{self._store}.fingerprint").write_text(OTHER)
        return str(self._store)


def test_of_two_models_that_begin_a_store_at_once_one_is_refused(clip: Any, tmp_path: Path) -> None:
    begun: Any = Begun(tmp_path / "index")
    with pytest.raises(FingerprintChanged, match=f"has vectors of {OTHER}"):
        open_beside(begun, clip)
    assert (tmp_path / "index.fingerprint").read_text() == OTHER


@pytest.mark.parametrize("content", [None, " \n"], ids=["no file", "an empty file"])
def test_nobody_guesses_of_which_model_a_store_is(clip: Any, tmp_path: Path, content: str | None) -> None:
    (tmp_path / "store.json").touch()
    if content is not None:
        (tmp_path / "store.json.fingerprint").write_text(content)
    with pytest.raises(FingerprintChanged, match=r"no fingerprint in the file .*store\.json\.fingerprint"):
        open_beside(tmp_path / "store.json", clip)


def test_an_item_without_a_vector_is_an_error_where_a_library_knows_none(clip: Any) -> None:
    assert len(rows(clip.embed_images([ROOT / "docs/cat.jpg"]))[0]) == 384
    with pytest.raises(ItemFailed, match="item 1: ") as failed:
        rows(clip.embed_images([ROOT / "docs/cat.jpg", b"no image"]))
    assert failed.value.code == "unsupported_format"


@pytest.mark.parametrize(
    ("module", "library", "package"),
    [
        ("langchain", "langchain_core", "langchain-core"),
        ("llama_index", "llama_index", "llama-index-core"),
    ],
)
def test_a_library_that_is_absent_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        importlib.import_module(f"clipserve.client.{module}")
