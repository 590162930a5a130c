"""The least limits of this process's cgroup and of those around it, which a container, or systemd, sets.

Of cgroup v1 only the root of each controller is seen, which in a container is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipserve.commands.doctor.context import Context
from clipserve.cores import cpu_quota

_UNLIMITED_V1 = 1 << 60  # a number near 2**63 is "no limit"


def least_quota(context: Context) -> tuple[float, Path] | None:
    """The least CPU quota, in cores, and the folder that has it."""
    quotas = ((cpu_quota(folder), folder) for folder in _folders(context))
    return min(((quota, folder) for quota, folder in quotas if quota is not None), default=None)


def least_memory(context: Context) -> tuple[int, Path] | None:
    """The least limit of memory, in bytes, and the file that has it."""
    files = [folder / "memory.max" for folder in _folders(context)]
    files.append(context.cgroup / "memory" / "memory.limit_in_bytes")
    limits = ((text_of(file).strip(), file) for file in files)
    numbers = ((int(text), file) for text, file in limits if text.isdecimal())
    return min((each for each in numbers if each[0] < _UNLIMITED_V1), default=None)


def _folders(context: Context) -> Iterator[Path]:
    """The process's own of cgroup v2, then those around it."""
    lines = text_of(context.proc / "self" / "cgroup").splitlines()
    own = next((Path(line.removeprefix("0::/")) for line in lines if line.startswith("0::/")), Path())
    if ".." not in own.parts:  # else it is another namespace's
        yield from (context.cgroup / each for each in (own, *own.parents) if each != Path())
    yield context.cgroup


def text_of(path: Path) -> str:
    """Of a file; empty where there is none."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
