"""The way of a photo in ARCHITECTURE.md is what a request passes."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from PIL import Image

from tests.process import ROOT
from tests.support import serving

SERVICE = str(ROOT / "service/clipserve") + "/"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def listed() -> list[str]:
    """The functions that the document lists."""
    walk = ARCHITECTURE.partition("<!-- walk: image -->")[2].partition("<!-- end of walk -->")[0]
    return [each.removeprefix("clipserve.") for each in re.findall(r"^- `([\w.]+)`", walk, re.MULTILINE)]


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


async def functions_of(image: bytes) -> list[str]:
    """What a request to classify `image` by known labels passes, with the demo model on onnxruntime."""
    demo = ROOT / "service/clipserve/demo"
    with followed() as entered:
        async with serving(None, demo, backend="onnx", decode_processes=True) as running:
            await running.classify(photo(), labels=["cat", "dog"])
            entered.clear()
            answer = await running.classify(image, labels=["cat", "dog"])
            assert answer.status_code == 200
            return [*entered]


async def test_the_functions_of_the_document_are_those_that_a_photo_passes_in_their_order() -> None:
    functions = listed()
    assert len(functions) > 4
    passed = await functions_of(photo())
    assert sorted((each for each in functions if each in passed), key=passed.index) == functions
