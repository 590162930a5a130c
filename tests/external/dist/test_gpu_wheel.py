"""The onnxruntime for GPUs that is pinned: its CUDA provider has our options, and computes our graphs, without a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from clipserve.demo import FOLDER as DEMO
from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from tests.external.dist.no_gpu import write_libraries
from tests.models.towers import CLIP, SIGLIP, random_tensors, write_graphs

LOCK = Path(__file__).parents[3] / "requirements" / "image-gpu.txt"
# Prints the nodes that the CPU gets of each graph, and the number of the others.
CHOICE = """
import json, sys, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path, options, providers=["CUDAExecutionProvider"])
    chosen = [(part.ep_name, node.op_type) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]
    print(json.dumps([path, [kind for where, kind in chosen if where[:3] == "CPU"], sum(where[:4] == "CUDA" for where, _ in chosen)]))
"""

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


def provider(package: Path) -> Path:
    return package / "onnxruntime/capi/libonnxruntime_providers_cuda.so"


def test_the_pinned_wheel_knows_every_option(package: Path) -> None:
    library = provider(package).read_bytes()
    named = [name for name in (*PROVIDER_OPTIONS, PROVIDER) if name.encode() in library]
    assert named == [*PROVIDER_OPTIONS, PROVIDER]


def test_the_cpu_gets_only_nodes_on_shapes(package: Path, tmp_path: Path) -> None:
    """By the provider's own choice, with libraries that stand in for NVIDIA's."""
    graphs = [DEMO / "image.onnx", DEMO / "text.onnx"]
    for name, architecture in (("clip", CLIP), ("siglip", SIGLIP)):
        plain = write_graphs(tmp_path / name, architecture, random_tensors(architecture))
        for path, write in zip(plain, (write_image, write_text), strict=True):
            found = stored(path)
            assert found is not None
            tower, dim, weights = found
            graphs.append(path.with_name(f"{path.stem}-half.onnx"))
            write(graphs[-1], tower, dim, weights, half=True)  # type: ignore[operator]
    write_libraries(provider(package), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CHOICE, *graphs],
        env=os.environ | {"PYTHONPATH": str(package), "LD_LIBRARY_PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    for path, on_cpu, on_gpu in map(json.loads, done.stdout.splitlines()):
        print(f"{path}: {on_gpu} nodes on the GPU, on the CPU {on_cpu}")
        assert set(on_cpu) <= {"Cast", "Concat", "Slice", "Squeeze"}, path  # of sizes
        assert on_gpu > 10 * len(on_cpu), path
    assert len(done.stdout.splitlines()) == len(graphs)
