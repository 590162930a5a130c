"""clipserve: CLIP image and text encoders behind one small HTTP service."""

import os
import tomllib
from pathlib import Path

# Written once, in pyproject.toml; the image has a copy of it beside the package, as the checkout does.
_project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
__version__: str = _project["version"]

# NumPy's BLAS is asked for small products only: the scores of some labels. A second thread makes them no
# faster, and waits for more in a busy loop of 50 ms, in which an encoder lacks a core. Read when NumPy is first
# imported, which comes after this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
