"""Triton's Python backend: one encoder of an artifact on onnxruntime, on the CPU.

The server on PyPI has no onnxruntime backend, so tests run this one: `python_backend` copies it into the model
repository. It runs inside Triton, in a separate process for each instance, with numpy and onnxruntime and without
this repository.

Triton hands over the requests of one dynamic batch at a time: pixels uint8 [n, S, S, 3], or token_ids int32
[n, L] and lengths int32 [n], of n rows each. They become one call of the graph for each shape, which
fails as a whole, as with Triton's own backends.

Tensors are passed by DLPack in both directions. `as_numpy()` and `pb.Tensor()` of a server built against numpy 1
are silently wrong with numpy 2: they treat an item as 0 bytes long, so that all values of an input equal the first.
"""

from __future__ import annotations

import ctypes
import json
import os
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # Triton brings it

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it reports to its maker, from its import on
import onnxruntime as ort

Feeds = dict[str, npt.NDArray[Any]]  # input's name -> its rows


class TritonPythonModel:
    """The class that Triton looks for by this name; one object for each instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load `model.onnx` from the model's version folder; an exception ends the server's start."""
        config = json.loads(args["model_config"])
        options = ort.SessionOptions()
        threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        # Instances share the cores: a thread in a busy loop takes time from the others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A memory pattern is kept for every input shape; texts have many.
        options.enable_mem_pattern = False
        graph = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order."""
        responses: dict[int, Any] = {}
        calls = [(index, self._feeds(request)) for index, request in enumerate(requests)]
        for _, group in groupby(sorted(calls, key=_shape), key=_shape):
            responses |= self._answer(list(group))
        return [responses[index] for index in range(len(requests))]

    def finalize(self) -> None:
        """Nothing to do: the session ends with the process."""

    def _feeds(self, request: Any) -> Feeds:
        return {name: np.from_dlpack(pb.get_input_tensor_by_name(request, name)) for name in self._inputs}

    def _answer(self, group: list[tuple[int, Feeds]]) -> dict[int, Any]:
        """The responses to requests of one shape, by index."""
        try:
            embeddings = self._run([feeds for _, feeds in group])
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            failed = pb.TritonError(str(error), pb.TritonError.INTERNAL)
            return {index: pb.InferenceResponse([], failed) for index, _ in group}
        ends = np.cumsum([_rows(feeds) for _, feeds in group])
        parts = np.split(embeddings, ends[:-1])  # each [n, D]
        return {index: _response(part) for (index, _), part in zip(group, parts, strict=True)}

    def _run(self, feeds: list[Feeds]) -> npt.NDArray[np.float32]:
        rows = {name: np.concatenate([each[name] for each in feeds]) for name in self._inputs}
        (embeddings,) = self._session.run(["embedding"], rows)
        return embeddings  # type: ignore[no-any-return]  # onnxruntime is untyped


def _rows(feeds: Feeds) -> int:
    return len(next(iter(feeds.values())))


def _shape(member: tuple[int, Feeds]) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in member[1].values())


def _response(embeddings: npt.NDArray[np.float32]) -> Any:
    capsule = embeddings.__dlpack__()
    # Triton takes over what the capsule holds and renames the capsule. numpy's destructor does not know the new
    # name, and would write an error to the log for every response.
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return pb.InferenceResponse([pb.Tensor.from_dlpack("embedding", capsule)])
