"""The onnxruntime for GPUs that is pinned: its CUDA provider has our options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS

LOCK = Path(__file__).parents[3] / "requirements" / "image-gpu.txt"


@pytest.mark.nightly  # 300 MB
def test_the_pinned_wheel_knows_every_option(tmp_path: Path) -> None:
    pin = re.search(r"^onnxruntime-gpu==\S+(?: \\\n    --hash=\S+)+", LOCK.read_text(), re.MULTILINE)
    assert pin
    (tmp_path / "pin.txt").write_text(pin[0])
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*download, "--dest", tmp_path, "-r", tmp_path / "pin.txt"], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as files:
        library = files.read("onnxruntime/capi/libonnxruntime_providers_cuda.so")
    named = [name for name in (*PROVIDER_OPTIONS, PROVIDER) if name.encode() in library]
    assert named == [*PROVIDER_OPTIONS, PROVIDER]
