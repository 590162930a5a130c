"""Checks of the system's limits: CPU, memory, open files, disk.

A limit is the lowest of this process's cgroup and its parents, which a container or systemd sets. With cgroup v1
only the root of each controller is read, which in a container is the container's own.
"""

from __future__ import annotations

import math
import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from clipserve.application.classifiers import LABEL_CACHE_BYTES
from clipserve.application.stream import MAX_BULK_REQUESTS
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.connections import ConnectionLimits
from clipserve.cores import affinity, cpu_quota, usable_cores
from clipserve.rpc.options import MAX_CALLS, SMALL_READS
from clipserve.settings import Settings
from clipserve.settings.model import ON_CPU
from clipserve.wiring.listening import OTHER_FILES, files_needed

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "i8mm", "bf16")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}

_MB = 1_000_000
_LIBRARIES = 226 * _MB  # of a process with its own encoders, without the weights
_IN_FRONT_OF_TRITON = 150 * _MB
_DECODER = 33 * _MB
_KEPT_BY_THE_C_LIBRARY = 64 * _MB


def cpu_features(context: Context) -> list[str]:
    """The CPU's features among `_FEATURES`; empty if /proc does not say."""
    flags = _cpuinfo(context, "flags|Features").split()
    return [feature for feature in _FEATURES if feature in flags]


def cpu(context: Context) -> Iterator[Finding]:
    """Check features, cores and threads, and the CPU quota."""
    settings, features = context.settings, cpu_features(context)
    (quota, folder), cores = _least_quota(context), affinity()
    name = _cpuinfo(context, "model name|Hardware") or "a CPU without a name"
    limit = "without a quota" if quota == math.inf else f"quota {quota:g}"
    yield ok(f"{name}: {', '.join(features) or 'no feature that is known'}; {cores} cores, {limit}")
    if features and not {"avx2", "asimd"} & set(features):
        yield warning(
            "it has no AVX2: encoders are several times slower",
            "take a newer CPU, or show all its flags to the virtual machine",
        )
    if quota < 1:
        yield warning(
            f"the quota of {folder} is {quota:g} cores, less than one: the kernel stops the whole process for "
            f"{1 - quota:.0%} of the time, answers, probes and all",
            "give it one core at least (docker: --cpus, Kubernetes: resources.limits.cpu), or no limit",
        )
    usable = min(cores, max(1.0, quota))
    threads, workers = settings.threads or usable_cores(context.cgroup), settings.workers or ON_CPU.workers
    if threads * workers > usable + 0.5:
        yield warning(
            f"{threads} threads x {workers} workers on {usable:g} cores: they wait for each other",
            f"lower CLIPSERVE_THREADS or CLIPSERVE_WORKERS: together {max(1, int(usable))} at most. The "
            "service does not see the quota of a parent cgroup",
        )


def _cpuinfo(context: Context, names: str) -> str:
    found = re.search(rf"^(?:{names})\s*:(.*)$", _text_of(context.proc / "cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else ""


def memory(context: Context) -> Iterator[Finding]:
    """Compare the available memory with what the settings allow the service to use (docs/memory.md)."""
    have, whose = _least_memory(context)
    start, most = bound(context)
    found = f"{whose} {_mb(have)}; the service takes about {_mb(start)} when it is ready, {_mb(most)} at most"
    if have < start:
        yield problem(
            f"{found}: the kernel would end it at the start",
            "give it more memory, serve fewer models, or an int8 variant (docs/precision.md)",
        )
    elif have < most:
        yield warning(
            found,
            "give it more memory, or lower the settings in the table of docs/memory.md, the largest row first",
        )
    else:
        yield ok(found)


def files(context: Context) -> Iterator[Finding]:
    """Compare the limit of open files with the connections that the settings allow."""
    needed = files_needed(context.settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "any number of" if hard == resource.RLIM_INFINITY else hard
    found = f"a process may open {allowed} files; {needed:,} are needed, {OTHER_FILES} of them besides connections"
    if hard == resource.RLIM_INFINITY or hard >= needed:
        yield ok(found)
    else:
        level = problem if hard < OTHER_FILES else warning
        yield level(
            found,
            f"raise it: ulimit -Hn {needed}, LimitNOFILE={needed} in systemd, --ulimit nofile={needed} in docker; "
            "or lower CLIPSERVE_MAX_CONNECTIONS",
        )


def disk(context: Context) -> Iterator[Finding]:
    """Check the folder of label sets, and its free space."""
    settings = context.settings
    if settings.label_set_store == "redis":
        yield ok("label sets are kept in Redis: CLIPSERVE_STATE_DIR is not used")
        return
    folder = settings.state_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield warning(
            f"{there} cannot be written: label sets cannot be put",
            "set CLIPSERVE_STATE_DIR to a folder that this user may write, on a local disk",
        )
        return
    free, needed = shutil.disk_usage(there).free, settings.max_label_sets_bytes
    found = f"{_mb(free)} are free in {there}; CLIPSERVE_MAX_LABEL_SETS_BYTES is {_mb(needed)}"
    yield ok(found) if free >= needed else warning(found, "make room, or lower the setting")


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def bound(context: Context) -> tuple[int, int]:
    """The memory of the service, (when ready, at most) in bytes, as in docs/memory.md.

    An estimate: engines differ.
    """
    models = [*context.models()]
    inside = [(folder, manifest) for folder, manifest, settings in models if settings.backend_kind.in_process]
    graphs = (folder / name for folder, manifest in inside for name in manifest.files)
    weights = sum(file.stat().st_size for file in graphs if file.exists())
    ready = (_LIBRARIES if inside else _IN_FRONT_OF_TRITON) + weights
    return ready, ready + sum(rows(context.settings, max(1, len(models))).values())


def rows(settings: Settings, models: int = 1) -> dict[str, int]:
    """The further memory by settings, as rows of the table, in bytes."""
    decoders = settings.decode_threads or usable_cores()
    return {
        "bodies": settings.max_in_flight_bytes,
        "grpc messages": settings.grpc_enabled
        * (
            settings.max_in_flight_bytes
            + (MAX_BULK_REQUESTS + SMALL_READS) * settings.max_body_bytes
            + MAX_CALLS * 65_536
        ),
        "grpc metadata": settings.grpc_enabled * MAX_CALLS * (65_536 + ConnectionLimits.max_header_bytes),
        "parsing": 10 * settings.max_body_bytes,
        "connections": settings.max_connections * 3 * ConnectionLimits.max_header_bytes,
        "caches": models * (LABEL_CACHE_BYTES + settings.image_cache_bytes),
        "images": settings.decode_memory_bytes,
        "decoders": settings.decode_processes * decoders * _DECODER,
        "the C library": _KEPT_BY_THE_C_LIBRARY,
    }


def _least_quota(context: Context) -> tuple[float, Path]:
    """The lowest CPU quota, in cores, infinity without one, and its folder."""
    return min((cpu_quota(folder) or math.inf, folder) for folder in _folders(context))


def _least_memory(context: Context) -> tuple[int, str]:
    """The lowest limit of memory, in bytes, and whose it is in words."""
    limits = [(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine has")]
    files = [folder / "memory.max" for folder in _folders(context)]
    for file in (*files, context.cgroup / "memory" / "memory.limit_in_bytes"):
        limit = _text_of(file).strip()
        if limit.isdecimal():  # not `max`
            limits.append((int(limit), f"the limit of {file} is"))
    return min(limits)


def _folders(context: Context) -> Iterator[Path]:
    """The folders of the process's cgroup v2, then of its parents."""
    lines = _text_of(context.proc / "self" / "cgroup").splitlines()
    group = next((Path(line.removeprefix("0::/")) for line in lines if line.startswith("0::/")), Path())
    if ".." not in group.parts:  # else it belongs to another namespace
        yield from (context.cgroup / path for path in (group, *group.parents) if path != Path())
    yield context.cgroup


def _text_of(path: Path) -> str:
    """The text of a file; empty if it is missing."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
