"""The steps of `.ci/kind` without a cluster: what kustomize and Helm make at each is noted in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import ROOT, TOOLS, of_kind, parsed

# For each command that needs a cluster, one that writes down its arguments, or the objects that it would apply.
_NOTES = """#!/bin/bash
next={out}/$(printf %02d "$(ls {out} | wc -l)").yaml
case "$(basename "$0") $*" in
  "kubectl apply --server-side -k"*) {tools}/kubectl kustomize . >"$next" ;;
  "helm upgrade --install "*) {tools}/helm template "${{@:3}}" >"$next" ;;
  "kubectl logs"*) echo "1 answered, 0 failed" ;;
esac
echo "$(basename "$0") $*" >>"{log}"
"""


@pytest.mark.parametrize("tool", ["kustomize", "helm"])
def test_the_steps_lead_from_one_color_to_the_other(tool: str, tmp_path: Path) -> None:
    commands, out, log = tmp_path / "bin", tmp_path / "out", tmp_path / "log"
    commands.mkdir()
    out.mkdir()
    for name in ("docker", "kind", "kubectl", "helm"):
        (commands / name).write_text(_NOTES.format(tools=TOOLS / "bin", out=out, log=log))
        (commands / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PAUSE": "0",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run([ROOT / ".ci/kind", tool], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 answered, 0 failed"
    applied = [parsed(file.read_text()) for file in sorted(out.iterdir())]
    selectors = [
        service["spec"]["selector"].get("clipserve/color")
        for objects in applied
        for service in of_kind(objects, "Service")
        if service["metadata"]["name"] == "clipserve"
    ]
    assert list(dict.fromkeys(selectors)) == [None, "blue", "green"]
    assert selectors[-3:] == ["green", "blue", "green"]
    images = [
        container["image"]
        for objects in applied
        for each in of_kind(objects, "Deployment")
        for container in each["spec"]["template"]["spec"]["containers"]
    ]
    assert list(dict.fromkeys(images)) == ["clipserve:0.1.0", "clipserve:0.2.0"]
    asked = log.read_text().splitlines()
    assert [line for line in asked if line.startswith("kind delete")] == [
        f"kind delete cluster --name clipserve-{tool}"
    ]
