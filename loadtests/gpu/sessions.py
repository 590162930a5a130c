"""Opens sessions of onnxruntime as the service does, for plain runs and runs with bound memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from clipserve.cores import usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.cuda import PROVIDER
from clipserve.engine.onnx import OnnxOptions, providers, session_options
from loadtests.gpu.inputs import Feeds


@dataclass(frozen=True)
class Variant:
    """The graphs in `folder`, on the GPU or the CPU. `precision`: fp32, fp16."""

    precision: str
    folder: Path
    cuda: bool

    def session(self, graph: str, profile_in: Path | None = None) -> ort.InferenceSession:
        """A session as in the service. `profile_in`: a folder for a profile of its nodes."""
        chosen = OnnxOptions(self.cuda, 1 if self.cuda else usable_cores())
        options = session_options(chosen)
        if profile_in is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_in / "profile")
        path = self.folder / graph
        session = ort.InferenceSession(path, options, providers(chosen), enable_fallback=0)
        if self.cuda and PROVIDER not in session.get_providers():
            raise SystemExit(f"{path} does not run on CUDA")
        return session


def run(session: ort.InferenceSession, feeds: Feeds) -> Embeddings:
    """float32 [N, D]."""
    (embeddings,) = session.run(None, feeds)
    return np.asarray(embeddings, np.float32)


class Bound:
    """A call with its inputs on the device (IOBinding)."""

    def __init__(self, session: ort.InferenceSession, feeds: Feeds, *, cuda: bool) -> None:
        device = "cuda" if cuda else "cpu"
        self._session, self._feeds, self._binding = session, feeds, session.io_binding()
        self._values: dict[str, Any] = {}
        for name, array in feeds.items():
            self._values[name] = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
            self._binding.bind_ortvalue_input(name, self._values[name])
        for output in session.get_outputs():
            self._binding.bind_output(output.name, device, 0)

    def with_copies(self) -> Embeddings:
        """Run as for a request: copy inputs from the host, and vectors to it."""
        for name, value in self._values.items():
            value.update_inplace(np.ascontiguousarray(self._feeds[name]))
        self.compute_only()
        return np.asarray(self._binding.copy_outputs_to_cpu()[0], np.float32)

    def compute_only(self) -> None:
        """Run without copies."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
