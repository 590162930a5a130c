"""`python -m tests.external.triton.python_backend REPOSITORY`: its models become models of the Python backend.

The server that deploy/triton/local.sh installs has no other backend that runs a graph.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve_models.triton_options import options_of
from clipserve_models.triton_repository import write_repository

PROGRAM = Path(__file__).with_name("model.py")


def change(repository: Path) -> None:
    """Of a repository that `models triton --device cpu` wrote."""
    for file in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(file.read_text("utf-8"), pb.ModelConfig())
        config.backend, config.default_model_filename = "python", PROGRAM.name
        first, _, _ = file.read_text("utf-8").partition("\n")  # whose models they are
        file.write_text(f"{first}\n{text_format.MessageToString(config)}", "utf-8")
        shutil.copyfile(PROGRAM, file.parent / "1" / PROGRAM.name)


def write_models(folder: Path, repository: Path, **options: Any) -> None:
    """The artifact's models. A busy machine may compute 600 images in more than the default ten seconds."""
    patient = replace(options_of("onnxruntime", "cpu", **options), queue_timeout=600)
    write_repository(folder, repository, patient)
    change(repository)


if __name__ == "__main__":
    change(Path(sys.argv[1]))
