"""The functions of the service that a request passes.

    python -m tests.e2e.functions

lists those of a POST /embed of a photo in their order, with the number of their calls, and counts them by room.
Comprehensions and lambdas belong to the functions around them, and what runs beside all requests is left out.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

from tests.support import Running, serving

ROOT = Path(__file__).parents[2]
_BESIDE = re.compile(
    r"<\w+>$|label_sets|Connections\.|Taking|Connection\.check|\.serve$|connection_(made|lost)$"
)
SERVICE = str(ROOT / "service/clipserve") + "/"


@contextmanager
def followed() -> Iterator[Counter[str]]:
    """How often each function of the service is entered, in all threads that start later, in their order."""
    entered = Counter[str]()
    frames = set[FrameType]()  # a coroutine is entered again after each pause

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(SERVICE) and frame not in frames:
            frames.add(frame)
            module = path.removeprefix(SERVICE).removesuffix(".py").replace("/", ".")
            name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
            entered[f"{module}.{name}"] += 1

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


async def embed(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, port)
    body = photo()
    fields = {"Host": host, "Content-Type": "image/jpeg", "Content-Length": len(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST /embed HTTP/1.1\r\n{head}\r\n".encode() + body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.05)  # for what follows the answer, such as the line in the log
    writer.close()


async def functions_of_embed() -> dict[str, int]:
    """Those of a request with one photo, behind others, with the demo model on onnxruntime."""
    with followed() as entered:
        async with serving(
            None, ROOT / "service/clipserve/demo", backend="onnx", decode_processes=True
        ) as running:
            for _ in range(3):
                await embed(running)
            entered.clear()
            await embed(running)
            return {name: calls for name, calls in entered.items() if not _BESIDE.search(name)}


def main() -> None:
    entered = asyncio.run(functions_of_embed())
    for name, calls in entered.items():
        print(f"{calls:4} {name}")
    print()
    rooms: dict[str, list[str]] = {}
    for name in entered:
        rooms.setdefault(name.partition(".")[0], []).append(name)
    for room, names in sorted(rooms.items()):
        print(f"{len(names):4} functions, {sum(entered[name] for name in names):4} calls in {room}")
    print(f"{len(entered):4} functions, {sum(entered.values()):4} calls")


if __name__ == "__main__":
    main()
