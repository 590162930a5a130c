"""What docker compose makes of its files: `docker compose config`, which needs no engine."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT


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


@pytest.mark.parametrize("profile", ["gpu", "tensorrt"])
def test_each_of_two_tritons_has_a_gpu_of_its_own_and_the_same_name(profile: str) -> None:
    made = services(profile, "deploy/triton/two-gpus.yml")
    assert (gpus(made["triton"]), gpus(made["triton-1"])) == (["0"], ["1"])
    assert made["triton-1"]["networks"] == {"encoders": {"aliases": ["triton"]}}
    assert {"triton", "triton-1"} <= set(made["gateway"]["depends_on"])
    alike = [made[name] | {"deploy": None, "networks": None} for name in ("triton", "triton-1")]
    assert alike[0] == alike[1]


@pytest.mark.parametrize("profile", ["gpu", "tensorrt", "cuda"])
def test_one_variable_chooses_the_gpu_of_all_that_need_one(profile: str) -> None:
    chosen = {name: gpus(each) for name, each in services(profile, GPU="3").items() if gpus(each)}
    assert chosen
    assert set(map(tuple, chosen.values())) == {("3",)}


def test_the_exporter_of_gpu_errors_is_where_prometheus_looks() -> None:
    made = services("gpu", "deploy/monitoring/dcgm.yml")
    config = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text())
    (job,) = (each for each in config["scrape_configs"] if each["job_name"] == "dcgm")
    assert [each["names"] for each in job["dns_sd_configs"]] == [["dcgm"]]
    (device,) = made["dcgm"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == -1, "all"
    assert set(made["dcgm"]["networks"]) == {"encoders"}
