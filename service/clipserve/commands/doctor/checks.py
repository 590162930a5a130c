"""The table of checks. docs/doctor.md says what each means, and what to do."""

from __future__ import annotations

from clipserve.commands.doctor import limits, models, network, remote, software
from clipserve.commands.doctor.findings import Check

HERE: tuple[Check, ...] = (
    Check("settings", software.settings),
    Check("packages", software.packages, 15),
    Check("cpu", limits.cpu),
    Check("gpu", models.gpu, 30),
    Check("models", models.models, 120),
    Check("engines", models.engines, 240),
    Check("ports", network.ports),
    Check("triton", models.triton, 60),
    Check("redis", network.redis, 10),
    Check("keys", software.keys),
    Check("disk", limits.disk),
    Check("files", limits.files),
    Check("memory", limits.memory),
)
THERE: tuple[Check, ...] = (Check("ready", remote.ready, 15), Check("models", remote.models, 15))
# Subjects without a check.
BEYOND_HERE = (
    "whether others reach this machine, through proxy, TLS and firewall: there `clipserve doctor --url URL`",
    "how many requests it takes: in a checkout `python -m loadtests overload`",
)
BEYOND_THERE = ("the machine of the server: there `clipserve doctor`", "whether it classifies: ask it")
