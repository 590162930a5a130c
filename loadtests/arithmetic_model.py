"""Triton's Python backend with arithmetic in place of a graph: `loadtests.gathering` copies it into a repository.

It runs inside Triton. CHECKOUT says where this repository is.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from itertools import groupby
from typing import Any

import numpy as np
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # Triton brings it

sys.path.insert(0, os.environ["CHECKOUT"])
from loadtests.fake_backend import FakeBackend


class TritonPythonModel:
    """The name is Triton's; one object for each instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read what the tensors are from the model's configuration."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._backend = FakeBackend(int(config["output"][0]["dims"][0]))
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._backend.start())

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order; one computation for those of one shape."""
        feeds = [
            [np.from_dlpack(pb.get_input_tensor_by_name(request, name)) for name in self._inputs]
            for request in requests
        ]
        answers: dict[int, Any] = {}
        for _, group in groupby(sorted(range(len(feeds)), key=lambda i: feeds[i][0].shape[1:]),
                                key=lambda i: feeds[i][0].shape[1:]):  # fmt: skip
            numbers = list(group)
            arrays = [np.concatenate([feeds[i][k] for i in numbers]) for k in range(len(self._inputs))]
            encode = self._backend.encode_image if len(arrays) == 1 else self._backend.encode_text
            vectors = self._loop.run_until_complete(encode(*arrays))
            ends = np.cumsum([len(feeds[i][0]) for i in numbers])
            for i, part in zip(numbers, np.split(vectors, ends[:-1]), strict=True):
                answers[i] = _response(np.ascontiguousarray(part))
        return [answers[i] for i in range(len(requests))]


def _response(vectors: Any) -> Any:
    capsule = vectors.__dlpack__()
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)  # Triton takes it over
    return pb.InferenceResponse([pb.Tensor.from_dlpack("embedding", capsule)])
