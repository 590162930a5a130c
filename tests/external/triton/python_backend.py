"""`python -m tests.external.triton.python_backend REPOSITORY`: its models become models of the Python backend.

The server that deploy/triton/local.sh installs has no other backend that runs a graph.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve_models.triton_options import options_of
from clipserve_models.triton_repository import write_repository

PROGRAM = Path(__file__).with_name("model.py")


def change(repository: Path, queue_seconds: int = 10) -> None:
    """Of a repository that `models triton --device cpu` wrote. `queue_seconds`: that a request may wait."""
    for file in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(file.read_text("utf-8"), pb.ModelConfig())
        config.backend, config.default_model_filename = "python", PROGRAM.name
        config.dynamic_batching.default_queue_policy.default_timeout_microseconds = queue_seconds * 1_000_000
        first, _, _ = file.read_text("utf-8").partition("\n")  # whose models they are
        file.write_text(f"{first}\n{text_format.MessageToString(config)}", "utf-8")
        shutil.copyfile(PROGRAM, file.parent / "1" / PROGRAM.name)


def write_models(folder: Path, repository: Path, **options: Any) -> None:
    """The artifact's models. A busy machine may compute 600 images in more than the default ten seconds."""
    write_repository(folder, repository, options_of("onnxruntime", "cpu", **options))
    change(repository, queue_seconds=600)


if __name__ == "__main__":
    change(Path(sys.argv[1]))
