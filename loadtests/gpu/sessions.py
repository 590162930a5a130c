"""Opens sessions of onnxruntime as the service does, for plain runs and runs with bound memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from clipserve.cores import usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.onnx import providers, session_options
from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS
from clipserve.engine.in_process import EngineOptions
from loadtests.gpu.inputs import Feeds, count


@dataclass(frozen=True)
class Variant:
    """The graphs in `folder`, on the GPU or the CPU. `precision`: fp32, fp16."""

    precision: str
    folder: Path
    cuda: bool

    def session(
        self, graph: str, profile_in: Path | None = None, *, cuda_graph: bool = False
    ) -> ort.InferenceSession:
        """A session as in the service. `profile_in`: a folder for a profile of its nodes.

        `cuda_graph`: capture the first shape that is run as a CUDA graph, for bound memory alone.
        """
        chosen = EngineOptions(self.cuda, 1 if self.cuda else usable_cores())
        options = session_options(chosen)
        if profile_in is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_in / "profile")
        path = self.folder / graph
        where = providers(chosen)
        if cuda_graph:
            where[0] = (PROVIDER, PROVIDER_OPTIONS | {"enable_cuda_graph": "1"})
        session = ort.InferenceSession(path, options, where, enable_fallback=0)
        if self.cuda and PROVIDER not in session.get_providers():
            raise SystemExit(f"{path} does not run on CUDA")
        return session


def run(session: ort.InferenceSession, feeds: Feeds) -> Embeddings:
    """float32 [N, D]."""
    (embeddings,) = session.run(None, feeds)
    return np.asarray(embeddings, np.float32)


class Bound:
    """A call with its inputs and vectors in memory of the device that stays the same (IOBinding)."""

    def __init__(self, session: ort.InferenceSession, feeds: Feeds, *, cuda: bool) -> None:
        device = "cuda" if cuda else "cpu"
        self._session, self._binding = session, session.io_binding()
        self._values: dict[str, Any] = {}
        for name, array in feeds.items():
            # A copy: on the CPU the value is the array's memory.
            self._values[name] = ort.OrtValue.ortvalue_from_numpy(array.copy(), device, 0)
            self._binding.bind_ortvalue_input(name, self._values[name])
        (output,) = session.get_outputs()
        shape = [count(feeds), output.shape[1]]
        vectors = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0)
        self._binding.bind_ortvalue_output(output.name, vectors)

    def with_copies(self, feeds: Feeds) -> Embeddings:
        """Run as for a request with as many rows: copy inputs from the host, and vectors to it."""
        for name, value in self._values.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self.compute_only()
        return np.asarray(self._binding.copy_outputs_to_cpu()[0], np.float32)

    def compute_only(self) -> None:
        """Run without copies."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
