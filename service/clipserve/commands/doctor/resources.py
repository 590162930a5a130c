"""Checks of what the system lets the service have: open files, memory, processes that decode."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.commands.doctor.memory import bound
from clipserve.wiring.listening import OTHER_FILES, files_needed


def files(context: Context) -> Iterator[Finding]:
    """The limit of open files against the connections that the settings allow."""
    settings = context.settings
    needed = files_needed(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "any number" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    do = (
        f"raise it: ulimit -Hn {needed}, LimitNOFILE={needed} in systemd, --ulimit nofile={needed} in docker; or "
        "lower CLIPSERVE_MAX_CONNECTIONS"
    )
    if hard != resource.RLIM_INFINITY and hard < OTHER_FILES:
        yield problem(
            f"a process may open {hard} files; {OTHER_FILES} are needed besides connections, {needed:,} in all",
            do,
        )
    elif hard != resource.RLIM_INFINITY and hard < needed:
        yield warning(
            f"a process may open {hard:,} files; {settings.max_connections:,} connections of each front need "
            f"{needed:,}",
            do,
        )
    else:
        yield ok(f"a process may open {allowed} files; {needed:,} are needed")


def memory(context: Context) -> Iterator[Finding]:
    """The memory that there is, against what the settings allow the service to take (docs/memory.md)."""
    total, limit = context.machine.memory_bytes(), context.machine.memory_limit()
    candidates = [(total, "the machine has")] if total else []
    candidates += [(int(limit.value), f"the limit of {limit.of} is")] if limit else []
    start, most = bound(context)
    told = f"{start / 1e6:,.0f} MB when it is ready, {most / 1e6:,.0f} MB at most"
    if not candidates:
        yield ok(f"about {told}; what this machine has is not known")
        return
    have, whose = min(candidates)
    if have < start:
        yield problem(
            f"{whose} {have / 1e6:,.0f} MB; the service needs about {told}: it would be ended at the start",
            "give it more memory, serve fewer models, or an int8 variant (docs/models.md)",
        )
    elif have < most:
        yield warning(
            f"{whose} {have / 1e6:,.0f} MB; the service may take about {told}",
            "give it more memory, or lower the settings in the table of docs/memory.md, the largest row first",
        )
    else:
        yield ok(f"{whose} {have / 1e6:,.0f} MB; the service takes about {told}")


def decoders(context: Context) -> Iterator[Finding]:
    """An image through a real decoder. It needs neither /tmp nor /dev/shm."""
    from PIL import Image

    from clipserve.application.decoder_processes import DecoderProcesses
    from clipserve.clip.images import ImageLimits
    from clipserve.clip.manifest import ImageSpec
    from clipserve.errors import ClipError
    from clipserve.telemetry.metrics import Metrics

    settings = context.settings
    if not settings.decode_processes:
        yield warning(
            "images are decoded in threads of the service: a flaw in a decoder would end it",
            "set CLIPSERVE_DECODE_PROCESSES=true, unless processes cannot be started here",
        )
        return
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    processes = DecoderProcesses(1, settings.decode_memory_bytes, settings.decode_timeout_seconds, Metrics())
    try:
        pixels = processes.decode(picture.getvalue(), ImageSpec(size=8), ImageLimits())
        yield ok(f"a process decodes: an image of 8 x 8 became {pixels.nbytes} bytes")
    except ClipError as error:
        yield problem(
            f"a process that decodes does not work: {error.detail}",
            "look at the limits of processes (pids.max, ulimit -u) and of memory, and at seccomp profiles",
        )
    finally:
        processes.close()
