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

pytestmark = pytest.mark.nightly  # 300 MB


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pin = re.search(r"^onnxruntime-gpu==\S+(?: \\\n    --hash=\S+)+", LOCK.read_text(), re.MULTILINE)
    assert pin
    (folder / "pin.txt").write_text(pin[0])
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*download, "--dest", folder, "-r", folder / "pin.txt"], check=True)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as files:
        files.extractall(folder / "package")
    return folder / "package"


def test_the_pinned_wheel_knows_every_option(package: Path) -> None:
    library = (package / "onnxruntime/capi/libonnxruntime_providers_cuda.so").read_bytes()
    named = [name for name in (*PROVIDER_OPTIONS, PROVIDER) if name.encode() in library]
    assert named == [*PROVIDER_OPTIONS, PROVIDER]
