"""What the Python API brings into the process of a program, and what it leaves as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.commands.test_light import loaded
from tests.support.process import ROOT

SERVER = [
    *("PIL", "clipserve.settings", "clipserve.wiring", "clipserve.rest", "clipserve.rpc", "clipserve.engine"),
    *("clipserve.application.inference", "clipserve.clip.images", "clipserve.clip.tokenizer"),
    *("onnxruntime", "tokenizers", "fastapi", "grpc", "prometheus_client", "opentelemetry", "redis"),
    *("structlog", "rich"),
]
# What a program has once, and other libraries of it use too.
STATE = """
import gc, logging, os, signal, sys, threading, warnings
import numpy, structlog
from PIL import Image

def state():
    try:
        Image.new("RGB", (3_000, 3_000)).__arrow_c_array__()
        blocks = "one"
    except ValueError:
        blocks = "several"
    return {
        # onnxruntime reports to its maker unless this is set, whoever uses it first.
        "environment": {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"},
        "filters": list(warnings.filters),
        "structlog": structlog.is_configured(),
        "logging": (logging.root.level, list(logging.root.handlers), logging.lastResort),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "collector": gc.get_threshold(),
        "Pillow": (Image.MAX_IMAGE_PIXELS, blocks),
    }

before = state()
import clipserve
USED
after = state()
print({name: (before[name], after[name]) for name in before if before[name] != after[name]})
"""
USED = {
    "Client": "clipserve.Client().close()",
    "Clip": """
with clipserve.Clip(backend="onnx") as clip:
    assert not clip.embed_images(["docs/cat.jpg"]).errors
    assert clip.embed_images([b"no image"]).errors
""",
}


@pytest.mark.parametrize("name", ["Client", "AsyncClient", "ClipserveError"])
def test_a_client_loads_no_pillow_server_or_engine(name: str) -> None:
    assert loaded(f"import clipserve; clipserve.{name}", SERVER) == "[]"


@pytest.mark.parametrize("used", USED.values(), ids=USED)
def test_a_program_s_process_stays_as_it_was(used: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STATE.replace("USED", used)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{}\n", "")


ENGINES = (
    "import clipserve_models.verify",
    "import clipserve_models.variants.int8",
    "from clipserve.engine.backends.openvino import computes_bf16; computes_bf16()",
)


@pytest.mark.parametrize("used", [USED["Clip"], *ENGINES])
def test_engines_report_to_nobody(used: str, tmp_path: Path) -> None:
    program = f"import clipserve\n{used}\nimport onnxruntime\n"
    program += f"onnxruntime.InferenceSession({str(DEMO / 'image.onnx')!r})"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}  # with CI's variables they would not report
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, check=True)
    # Those that report write their identifiers of the device before they do.
    assert not [*tmp_path.rglob("deviceid"), *tmp_path.rglob("openvino_ga_cid")]
