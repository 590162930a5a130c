"""Opens sessions of onnxruntime as the service does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from clipserve.cores import usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.onnx import providers, session_options
from clipserve.engine.cuda import PROVIDER
from clipserve.engine.in_process import EngineOptions
from loadtests.gpu.inputs import Feeds


@dataclass(frozen=True)
class Variant:
    """The graphs in `folder`, on the GPU or the CPU. `precision`: fp32, fp16."""

    precision: str
    folder: Path
    cuda: bool

    def session(self, graph: str) -> ort.InferenceSession:
        """A session as in the service."""
        chosen = EngineOptions(self.cuda, 1 if self.cuda else usable_cores())
        path = self.folder / graph
        session = ort.InferenceSession(path, session_options(chosen), providers(chosen), enable_fallback=0)
        if self.cuda and PROVIDER not in session.get_providers():
            raise SystemExit(f"{path} does not run on CUDA")
        return session


def run(session: ort.InferenceSession, feeds: Feeds) -> Embeddings:
    """float32 [N, D]."""
    (embeddings,) = session.run(None, feeds)
    return np.asarray(embeddings, np.float32)
