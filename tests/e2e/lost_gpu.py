"""`python -m tests.e2e.lost_gpu`: the service on a stand-in for a GPU, lost while the file LOST is there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import clipserve.__main__
from clipserve.engine import backends
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, Feeds


class Gpu(OnnxEngine):
    """onnxruntime on the CPU, whose runs fail as those of CUDA do after an illegal access."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        super().__init__(folder, options)
        self.on_gpu = True

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        if fault := self.lost():
            raise RuntimeError(fault)
        return super().run(graph, feeds)

    def lost(self) -> str | None:
        return "CUDA error 700: an illegal memory access" if Path(os.environ["LOST"]).exists() else None


if __name__ == "__main__":
    kind = replace(backends.BACKENDS["onnx"], open_engine=lambda folder, _, options, __: Gpu(folder, options))
    backends.BACKENDS["onnx"] = kind  # type: ignore[index]
    clipserve.__main__.main()
