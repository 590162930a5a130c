"""The steps of `.ci/kind` without a cluster: what Helm makes at each is noted in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.deploy.manifests import ROOT, TOOLS, of_kind, parsed

# For each command that needs a cluster, one that writes down the objects that it would apply. Helm would take the
# values of the release before: they are kept in a file. The switch that must be refused is, as by a cluster.
_NOTES = """#!/bin/bash
next={out}/$(printf %02d "$(ls {out} | wc -l)").yaml
case "$(basename "$0") $*" in
  *"served=green"*"replicas"* | *"replicas"*"served=green"*) exit 1 ;;
  "helm upgrade"*)
    while [[ $# -gt 0 ]]; do
      [[ $1 == --reset-values ]] && rm {out}.values
      [[ $1 == --set* ]] && echo "$1 $2" >>{out}.values
      shift
    done
    {tools}/helm template clipserve {chart} --namespace clipserve $(cat {out}.values) >"$next" ;;
  "kubectl logs"*) echo "1 answered, 0 failed" ;;
esac
"""


def test_the_steps_lead_from_one_color_to_the_other(tmp_path: Path) -> None:
    commands, out = tmp_path / "bin", tmp_path / "out"
    commands.mkdir()
    out.mkdir()
    for name in ("docker", "kind", "kubectl", "helm"):
        text = _NOTES.format(tools=TOOLS / "bin", out=out, chart=ROOT / "deploy/chart")
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = {"PATH": f"{commands}:{os.environ['PATH']}", "PAUSE": "0", "TMPDIR": str(tmp_path)}
    done = subprocess.run([ROOT / ".ci/kind"], env=os.environ | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "1 answered, 0 failed"
    applied = [parsed(file.read_text()) for file in sorted(out.iterdir())]
    served = [
        service["spec"]["selector"]["clipserve/color"]
        for objects in applied
        for service in of_kind(objects, "Service")
        if service["metadata"]["name"] == "clipserve"
    ]
    assert served == ["blue"] * 4 + ["green", "blue", "green", "green"]
    running = [{each["metadata"]["name"] for each in of_kind(objects, "Deployment")} for objects in applied]
    both = {"clipserve-blue", "clipserve-green"}
    assert running == [{"clipserve-blue"}] * 3 + [both] * 4 + [{"clipserve-green"}]
    images = {
        container["image"]
        for each in of_kind(applied[-1], "Deployment")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"clipserve:0.2.0"}
