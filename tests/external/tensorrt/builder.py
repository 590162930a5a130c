"""What TensorRT's parser and builder say of a graph: `builder.py GRAPH PROFILES` prints a line of JSON.

Runs in the environment of tensorrt-rtx.txt, without the rest of this checkout, a driver or a GPU: the engine is
built ahead of time for one compute capability, and dropped. PROFILES is a JSON list: the smallest,
usual and largest shape of each input.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tensorrt_rtx_bindings as trt


class Log(trt.ILogger):  # type: ignore[misc]  # untyped
    """Keeps the first error, which says why a build fails."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.error = ""

    def log(self, severity: Any, message: str) -> None:
        if severity <= trt.ILogger.ERROR and not self.error:
            self.error = message


def build(graph: str, profiles: list[dict[str, dict[str, list[int]]]]) -> dict[str, Any]:
    """`parsed`, `built`, and where one is false `why`."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(graph):
        error = parser.get_error(0)
        return {"parsed": False, "built": False, "why": f"{error.node_operator()}: {error.desc()}"}
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM80, 0)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name in shapes["smallest"]:
            profile.set_shape(name, *(shapes[which][name] for which in ("smallest", "usual", "largest")))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return {"parsed": True, "built": plan is not None, "why": "" if plan else log.error}


if __name__ == "__main__":
    print(json.dumps(build(sys.argv[1], json.loads(sys.argv[2]))))
