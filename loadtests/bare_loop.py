"""The limit: decode and encode in a loop, with no server around it.

The same steps as a request for one vector: a JPEG, Pillow's decoder, the reference resize and crop, one
`session.run`. `loops` threads each do one image after the other on a session of `threads` threads; the best
arrangement for a machine is the limit there.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image


def bare_loop(artifact: Path, size: int, image: bytes, loops: int, threads: int) -> Callable[[float], float]:
    """A function of seconds that runs the loop for so long and gives images a second."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(artifact / "image.onnx", options, providers=["CPUExecutionProvider"])

    def measure(seconds: float) -> float:
        counts = [0] * loops
        deadline = time.perf_counter() + seconds

        def loop(index: int) -> None:
            while time.perf_counter() < deadline:
                session.run(None, {"pixels": _pixels(image, size)[np.newaxis]})
                counts[index] += 1

        started = time.perf_counter()
        workers = [threading.Thread(target=loop, args=(index,)) for index in range(loops)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(counts) / (time.perf_counter() - started)

    return measure


def _pixels(image: bytes, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    picture = Image.open(io.BytesIO(image))
    short = min(picture.size)
    resized = picture.resize(
        (int(size * picture.width / short), int(size * picture.height / short)), Image.Resampling.BICUBIC
    )
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)).convert("RGB"))
