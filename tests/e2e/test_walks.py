"""The walks of ARCHITECTURE.md are what a request passes."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from PIL import Image

from tests.process import ROOT
from tests.support import serving

SERVICE = str(ROOT / "service/clipserve") + "/"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def walk(name: str) -> list[str]:
    """The functions of a walk, as the document lists them."""
    listed = ARCHITECTURE.partition(f"<!-- walk: {name} -->")[2].partition("<!-- end of walk -->")[0]
    return [each.removeprefix("clipserve.") for each in re.findall(r"^- `([\w.]+)`", listed, re.MULTILINE)]


@contextmanager
def followed() -> Iterator[dict[str, None]]:
    """The functions of the service, as they are first entered, in threads that start later too."""
    entered: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(SERVICE):
            module = path.removeprefix(SERVICE).removesuffix(".py").replace("/", ".")
            entered.setdefault(f"{module}.{frame.f_code.co_qualname.rpartition('<locals>.')[2]}")

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "orange").save(file, "JPEG")
    return file.getvalue()


async def functions_of(image: bytes, status: int, *, known_labels: bool) -> list[str]:
    """What a request to classify `image` passes, with the demo model on onnxruntime."""
    with followed() as entered:
        async with serving(
            None, ROOT / "service/clipserve/demo", backend="onnx", decode_processes=True
        ) as running:
            if known_labels:
                await running.classify(photo(), labels=["cat", "dog"])
            entered.clear()
            answer = await running.classify(image, labels=["cat", "dog"])
            assert answer.status_code == status
            return [*entered]


def in_order(functions: list[str], passed: list[str]) -> list[str]:
    """`functions` in the order of `passed`; what was not passed is left out."""
    return sorted((each for each in functions if each in passed), key=passed.index)


@pytest.mark.parametrize(
    ("name", "image", "status"),
    [("image", photo(), 200), ("label", photo(), 200), ("error", photo()[:-200], 422)],
)
async def test_a_walk_of_the_document_is_what_a_request_passes(name: str, image: bytes, status: int) -> None:
    functions = walk(name)
    assert len(functions) > 4
    assert len(set(functions)) == len(functions), "it passes something twice"
    passed = await functions_of(image, status, known_labels=name != "label")
    assert in_order(functions, passed) == functions
