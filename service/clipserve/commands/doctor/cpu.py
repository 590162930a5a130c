"""The check of the CPU: what it computes with, and how much of it there is."""

from __future__ import annotations

from collections.abc import Iterator

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, warning
from clipserve.commands.doctor.machine import Machine
from clipserve.cores import affinity, usable_cores
from clipserve.settings.engine import ON_CPU

# What is told -> flags of /proc/cpuinfo, any of which means it.
_FEATURES = {
    "avx2": {"avx2"},
    "avx512": {"avx512f"},
    "vnni": {"avx512_vnni", "avx_vnni", "i8mm"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "amx": {"amx_tile"},
    "neon": {"asimd"},
}


def features(machine: Machine) -> list[str]:
    """Those of `_FEATURES` that the CPU has."""
    flags = machine.cpu_flags()
    return [name for name, any_of in _FEATURES.items() if flags & any_of]


def cpu(context: Context) -> Iterator[Finding]:
    """Its features, cores, threads, and the quota of the cgroup."""
    machine, settings = context.machine, context.settings
    has = features(machine)
    cores, limit = affinity(), machine.cpu_limit()
    quota = "without a quota" if limit is None else f"quota {limit.value:g}"
    yield ok(f"{machine.cpu_name()}: {', '.join(has) or 'no feature that is known'}; {cores} cores, {quota}")
    yield from _bf16(context, has)
    if machine.cpu_flags() and not {"avx2", "neon"} & set(has):
        yield warning(
            "it has no AVX2: encoders are several times slower",
            "take a newer CPU, or show all its flags to the virtual machine",
        )
    yield from _quota(context)
    threads = settings.threads or usable_cores(machine.cgroup)
    usable = cores if limit is None else min(cores, max(1, limit.value))
    workers = settings.workers or ON_CPU.workers
    if threads * workers > usable + 0.5:
        yield warning(
            f"{threads} threads x {workers} workers on {usable:g} cores: they wait for each other",
            "lower CLIPSERVE_THREADS (0: the cores of the quota) or CLIPSERVE_WORKERS",
        )


def _bf16(context: Context, has: list[str]) -> Iterator[Finding]:
    """OpenVINO is for bf16: without it, it computes in fp32 like onnxruntime, and takes more memory."""
    if not context.machine.cpu_flags() or "bf16" in has:
        return
    for _, manifest, own in context.models():
        if own.backend == "openvino":
            yield warning(
                f"CLIPSERVE_BACKEND=openvino for {manifest.name} is for CPUs with bf16, and this CPU has none: it "
                "computes in fp32, no faster than onnxruntime, in half as much memory again",
                "set CLIPSERVE_BACKEND=auto, or take a CPU with AVX-512 BF16 or AMX",
            )


def _quota(context: Context) -> Iterator[Finding]:
    limit = context.machine.cpu_limit()
    if limit is None:
        return
    if limit.value < 1:
        yield warning(
            f"the quota of {limit.of} is {limit.value:g} cores, less than one: the kernel stops the whole process "
            f"for {1 - limit.value:.0%} of the time, answers, probes and all",
            "give it one core at least (docker: --cpus, Kubernetes: resources.limits.cpu), or no limit",
        )
    seen = usable_cores(context.machine.cgroup)
    if seen > max(1, limit.value) + 0.5 and not context.settings.threads:
        yield warning(
            f"the service counts {seen} cores, but the quota of {limit.of} is {limit.value:g}: threads above it "
            " are stopped in the middle of a call",
            f"set CLIPSERVE_THREADS and CLIPSERVE_DECODE_THREADS to {max(1, int(limit.value))}",
        )
