"""What docker compose makes of its files: `docker compose config`, which needs no engine."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from tools.markdown import ROOT


def services(profile: str, *files: str, **variables: str) -> dict[str, Any]:
    named = [f"--file={file}" for file in ("docker-compose.yml", *files)]
    done = subprocess.run(
        ["docker", "compose", *named, "--profile", profile, "config", "--format=json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["services"])


def gpus(service: dict[str, Any]) -> list[str]:
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    return [number for device in devices for number in device["device_ids"]]


def test_each_of_two_tritons_has_a_gpu_of_its_own_and_the_same_name() -> None:
    made = services("triton", "deploy/triton/two-gpus.yml")
    assert (gpus(made["triton"]), gpus(made["triton-1"])) == (["0"], ["1"])
    assert made["triton-1"]["networks"] == {"encoders": {"aliases": ["triton"]}}
    assert {"triton", "triton-1"} <= set(made["gateway"]["depends_on"])
    alike = [made[name] | {"deploy": None, "networks": None} for name in ("triton", "triton-1")]
    assert alike[0] == alike[1]


def test_a_variable_chooses_the_gpu() -> None:
    chosen = {name: gpus(each) for name, each in services("triton", GPU="3").items() if gpus(each)}
    assert chosen == {"triton": ["3"]}


def test_every_log_has_a_bound() -> None:
    """Docker keeps all of it otherwise, until the disk is full."""
    for profile in ("edge", "monitoring", "redis", "triton"):
        for name, each in services(profile).items():
            assert "max-size" in each["logging"]["options"], name
