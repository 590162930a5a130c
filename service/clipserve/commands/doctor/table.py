"""The checks, a row each. docs/doctor.md has these tables, and says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipserve.commands.doctor import (
    clock,
    cpu,
    gpu,
    models,
    ports,
    remote,
    remote_operations,
    resources,
    software,
    stores,
    traces,
    triton,
)
from clipserve.commands.doctor.checking import Check
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.remote import Remote

HERE: tuple[Check[Context], ...] = (
    Check(
        "settings", software.settings, "each `CLIPSERVE_*` setting", "a value that the service would refuse"
    ),
    Check(
        "variables",
        software.variables,
        "`CLIPSERVE_*` variables that are no setting",
        "there is one: it is ignored",
    ),
    Check(
        "packages",
        software.packages,
        "Python, and the packages in its environment",
        "one is missing, or two that exclude each other are there",
        15,
    ),
    Check(
        "cpu",
        cpu.cpu,
        "features, cores and threads, and the quota of the cgroup and of those around it",
        "a quota below one core, or one that the service does not see; more threads than cores; no AVX2; OpenVINO "
        "without bf16",
    ),
    Check(
        "gpu",
        gpu.gpu,
        "NVIDIA's GPUs, driver and devices, onnxruntime's providers, `CLIPSERVE_DEVICE`",
        "a GPU that is asked for and not there, or there and not used; none at all is ok",
        30,
    ),
    Check(
        "models",
        models.models,
        "the artifacts: manifest, files against their checksums, tokenizer",
        "one is missing, cut short or altered; two have one name",
        120,
    ),
    Check(
        "engines",
        models.engines,
        "the self-test of each artifact on the engine that would serve it, and why that one",
        "it does not load, or computes something else",
        240,
    ),
    Check(
        "decoders",
        resources.decoders,
        "an image through a process that decodes",
        "it cannot be started; images are decoded in threads",
        60,
    ),
    Check(
        "ports",
        ports.ports,
        "whether each port can be listened on",
        "one is taken, and by whom; two are the same",
    ),
    Check(
        "tls", ports.tls, "the files of `CLIPSERVE_GRPC_TLS_*`", "they cannot be read, or do not fit together"
    ),
    Check(
        "triton",
        triton.triton,
        "each Triton server of each model: reachable, its fingerprint, a self-test through it",
        "it does not answer, or serves something else",
        60,
    ),
    Check(
        "redis",
        stores.redis,
        "Redis, and whether it keeps label sets",
        "it does not answer, or may lose label sets",
        10,
    ),
    Check(
        "keys",
        stores.keys,
        "the file of keys and its permissions",
        "it is spoilt or empty, or others may write it; no keys on an address that others reach",
    ),
    Check(
        "state",
        stores.state,
        "the folder of label sets, and room in it",
        "it cannot be written, or is too small",
    ),
    Check("traces", traces.traces, "OpenTelemetry, and the collector", "not installed; nobody listens", 10),
    Check(
        "clock",
        clock.clock,
        "the clock against Redis and the collector, and against the files' dates",
        "more than 5 s apart; before 2024, or a day before a file was made",
        15,
    ),
    Check("files", resources.files, "the limit of open files", "fewer than the connections allowed need"),
    Check(
        "memory",
        resources.memory,
        "RAM and the limit of the cgroup, against the sum of [memory.md](memory.md)",
        "less than that; a problem where a start would need more",
    ),
)

# The operations port may answer where the other is full: it is asked first.
THERE: tuple[Check[Remote], ...] = (
    Check(
        "tls",
        remote.tls,
        "the certificate",
        "not accepted, or valid for less than 14 days; a key without TLS, which is sent to this machine alone",
        15,
    ),
    Check(
        "operations",
        remote_operations.operations,
        "the probes on the operations port, where `--operations-url` names it",
        "one does not say yes",
        15,
    ),
    Check(
        "load",
        remote_operations.load,
        "its metrics, twice within a second",
        "it refuses requests or connections for want of capacity",
        30,
    ),
    Check(
        "address",
        remote.address,
        "whether a clipserve answers there",
        "nobody does, or something else: the checks below are not run",
        15,
        decisive=True,
    ),
    Check("probes", remote.probes, "`/livez` and `/readyz`", "one does not say yes", 15),
    Check(
        "models",
        remote.models,
        "the models with their fingerprints",
        "one is not ready; no key that it knows",
        15,
    ),
    Check("version", remote.version, "its version beside this one", "they differ", 15),
    Check("clock", remote.clock, "its header `Date`", "more than 5 s apart", 15),
)


def as_markdown(checks: Sequence[Check[Any]]) -> str:
    """A table of docs/doctor.md."""
    rows = ["| check | looks at | warning or problem | at most |", "| --- | --- | --- | --- |"]
    rows += [f"| `{each.name}` | {each.looks_at} | {each.bad} | {each.seconds:g} s |" for each in checks]
    return "\n".join(rows)
