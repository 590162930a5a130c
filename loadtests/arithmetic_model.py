"""Fake encoders in Triton's Python backend: `loadtests.gateways` copies this file into a model repository.

It runs inside Triton, in a process for each instance. LOADTESTS: the paths of this package and of what it imports.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import numpy.typing as npt

sys.path[:0] = os.environ["LOADTESTS"].split(os.pathsep)
from clipserve_models.triton_python_model import Feeds
from clipserve_models.triton_python_model import TritonPythonModel as OnnxModel
from loadtests.fake_backend import FakeBackend


class TritonPythonModel(OnnxModel):
    """The model of `clipserve models triton --backend python` with arithmetic in place of its graph."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the names of the inputs and the size of a vector."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._backend = FakeBackend(int(config["output"][0]["dims"][0]))

    def _run(self, feeds: list[Feeds]) -> npt.NDArray[np.float32]:
        return self._backend.vectors(
            *(np.concatenate([each[name] for each in feeds]) for name in self._inputs)
        )
