"""`clipserve doctor` in front of a real Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.demo import FOLDER as DEMO
from tests.commands.test_doctor import PORTS, doctor
from tests.support.process import copy_of_demo
from tests.triton.stand_in import MANIFEST

if TYPE_CHECKING:
    from .conftest import Triton


def test_one_that_serves_the_artifact_is_no_fault(triton: Triton) -> None:
    told = doctor(backend="triton", triton_url=triton.url, models=DEMO, **PORTS)
    assert told.status == 0, told.report
    assert any(f"{MANIFEST.fingerprint()} on " in found for _, found, _ in told.of("start"))


def test_one_that_serves_another_artifact_is_named_with_both_fingerprints(
    triton: Triton, tmp_path: Path
) -> None:
    copy = copy_of_demo(tmp_path)
    manifest = json.loads((copy / "model.json").read_text())
    manifest["text"]["cleaning"] = "lowercase"  # which the demo's tokenizer does anyway: a start of it passes
    (copy / "model.json").write_text(json.dumps(manifest))
    told = doctor(backend="triton", triton_url=triton.url, models=copy, **PORTS)
    assert told.status == 1, told.report
    assert f"Triton's model demo_image is {MANIFEST.fingerprint()}" in str(told.of("start"))
