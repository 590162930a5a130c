"""The checks, a row each. docs/doctor.md says what each means, and what to do."""

from __future__ import annotations

from clipserve.commands.doctor import limits, models, network, remote, software, triton
from clipserve.commands.doctor.findings import Check

HERE = (
    Check("settings", software.settings),
    Check("packages", software.packages, 15),
    Check("cpu", limits.cpu),
    Check("gpu", models.gpu, 30),
    Check("models", models.models, 120),
    Check("engines", models.engines, 240),
    Check("ports", network.ports),
    Check("triton", triton.triton, 60),
    Check("redis", network.redis, 10),
    Check("keys", software.keys),
    Check("disk", limits.disk),
    Check("files", limits.files),
    Check("memory", limits.memory),
)
THERE = (Check("ready", remote.ready, 15), Check("models", remote.models, 15))
