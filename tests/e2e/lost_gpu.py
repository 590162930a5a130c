"""`python -m tests.e2e.lost_gpu`: the service on a stand-in for a GPU, lost while the file LOST is there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import clipserve.__main__
from clipserve.engine import backends
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineCall, EngineOptions, Feeds


class Gpu(OnnxEngine):
    """onnxruntime on the CPU, whose calls fail as those of CUDA do after an illegal access."""

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        super().__init__(folder, options)
        self.on_gpu = True

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        call = super().call(graph, feeds)
        return _Fails() if self.lost() else call

    def lost(self) -> str | None:
        return "CUDA error 700: an illegal memory access" if Path(os.environ["LOST"]).exists() else None


class _Fails:
    def run(self) -> Any:
        raise RuntimeError("CUDA error 700: an illegal memory access")

    def cancel(self) -> None: ...


if __name__ == "__main__":
    kind = replace(backends.BACKENDS["onnx"], open_engine=lambda folder, _, options, __: Gpu(folder, options))
    backends.BACKENDS["onnx"] = kind  # type: ignore[index]
    clipserve.__main__.main()
