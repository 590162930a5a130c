"""What the doctor finds on this machine: what a start says, and what a start cannot say."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from clipserve import __version__
from clipserve.access.key_file import KeyFileError, read_keys
from clipserve.api.answers import Answer
from clipserve.api.states import ModelList, Status
from clipserve.client.errors import ClipserveError, OddAnswer, Refused
from clipserve.client.http import ask_once
from clipserve.clip import resampling
from clipserve.cores import affinity, cpu_quota
from clipserve.settings import BadSettings, Settings
from clipserve.telemetry.versions import vector_libraries
from clipserve.wiring.listening import CannotListen, listen
from clipserve.wiring.model_names import NoSuchModel, find
from clipserve.wiring.use_cases import Limits

SECONDS = 240.0  # for a start: a large model on two engines
_HUB = "https://huggingface.co"
_CGROUP = Path("/sys/fs/cgroup")
_READY = "{fingerprint} on {engine} in {precision}: {ms_per_call} ms a call, self-test {self_test_cosine:.6f}"
_NOT_SHOWN = frozenset({"event", "level", "timestamp", "do", "exception"})  # fields of a log line


class Finding(NamedTuple):
    """One line of the report. `do`: what to do about it; empty if it is ok."""

    name: str
    level: Literal["ok", "warning", "problem"]
    found: str
    do: str = ""


def here(settings: Settings | BadSettings) -> Iterator[Finding]:
    """On this machine."""
    if isinstance(settings, BadSettings):
        for reason in settings.reasons:
            yield Finding("settings", "problem", reason, "correct it: the service does not start")
        return
    for check in (versions, cpu, ports, keys, hub):
        yield from check(settings)
    said, status = start()
    yield from of_start(said, status)
    yield from memory(settings, said)


def there(url: str, key: str | None, ca_file: Path | None) -> Iterator[Finding]:
    """Whether a clipserve answers there and is ready, and its models."""
    name, log = "ready", "its log says what it waits for"
    try:
        ask_once(url, key, ca_file, "GET", "/readyz", Status)
        yield Finding(name, "ok", f"{url}/readyz says yes")
        name = "models"
        for model in ask_once(url, key, ca_file, "GET", "/v1/models", ModelList).data:
            found = f"{model.id}: {model.fingerprint}"
            unready = Finding(name, "problem", f"{found} is not ready", log)
            yield Finding(name, "ok", found) if model.ready else unready
    except ClipserveError as error:
        do = "is it running, is this its port, is a firewall between? A certificate of your own: --ca-file"
        if isinstance(error, Refused):
            do = {401: "set CLIPSERVE_KEY to one of its keys", 503: log}.get(error.status or 0, do)
        yield Finding(name, "problem", str(error), do)


def of_start(said: str, status: int) -> Iterator[Finding]:
    """What a start logged, and how it ended. `status`: of its process; negative: of a signal."""
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    for event in events:
        more = [f"{name}: {value}" for name, value in event.items() if name not in _NOT_SHOWN]
        about = "; ".join([event["event"], *more])
        if event["event"] == "model_ready":
            yield Finding("start", "ok", _READY.format(**event))
        elif event["level"] == "warning":
            do = event.get("do") or "docs/troubleshooting.md has this line"
            yield Finding("start", "warning", about, do)
        elif event["level"] in ("error", "critical"):
            do = "the service ends with this: correct it"
            yield Finding("start", "problem", event.get("reason") or about, do)
    if status and not any(event["level"] == "critical" for event in events):
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        do = "SIGKILL: give it more memory, `dmesg` tells. Anything else: report this"
        yield Finding("start", "problem", f"the start ended with {how}: {last}", do)


def start() -> tuple[str, int]:
    """What a start of these settings logs, and its exit status."""
    command = [sys.executable, "-P", "-m", "clipserve.commands.doctor.start"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 - this Python
    except subprocess.TimeoutExpired:
        return f"no end within {SECONDS:g} s; CLIPSERVE_LOG_LEVEL=DEBUG tells more", 1
    return ended.stderr, ended.returncode


def memory(settings: Settings, said: str, cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """The memory that a start took beside the machine's and the cgroup's. `said`: what the start logged."""
    if not (peaks := re.findall(r'"peak_bytes": ?(\d+)', said)):
        return
    limits = [(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "the machine has")]
    with suppress(OSError, ValueError):  # ValueError: `max`
        limits.append((int((cgroup / "memory.max").read_text("utf-8")), f"the limit of {cgroup} is"))
    (have, whose), took = min(limits), int(peaks[-1])
    more = settings.max_in_flight_bytes * (1 + settings.grpc_enabled) + Limits.decode_memory_bytes
    have_mb, took_mb, more_mb = (f"{each / 1e6:,.0f} MB" for each in (have, took, more))
    found = f"{whose} {have_mb}; the start took {took_mb}, and bodies and decoders may take {more_mb} more"
    do = "give it more, or lower CLIPSERVE_MAX_IN_FLIGHT_BYTES (docs/production.md)"
    yield Finding("memory", "warning", found, do) if have < took + more else Finding("memory", "ok", found)


def ports(settings: Settings) -> Iterator[Finding]:
    """Who has a port that is not free."""
    wanted = {"CLIPSERVE_PORT": settings.port, "CLIPSERVE_OPERATIONS_PORT": settings.operations_port}
    if settings.grpc_enabled:
        wanted["CLIPSERVE_GRPC_PORT"] = settings.grpc_port
    with ExitStack() as held:  # two settings may name one port
        for name, port in wanted.items():
            try:
                held.enter_context(listen(name, settings.host, port))
            except CannotListen as error:
                reason = str(error).partition(". Choose")[0]
                do = "set CLIPSERVE_HOST to an address of this machine"
                if holder := _listener(port):
                    reason, do = f"{reason}: {holder} has it", "end it"
                yield Finding("ports", "problem", reason, f"{do}, or set {name} to another port")


def _listener(port: int) -> str:
    """The process that listens there (0A), as far as /proc shows it; empty: none. Arguments may be secrets."""
    tables = "".join(Path(table).read_text("utf-8") for table in glob.glob("/proc/net/tcp*"))
    rows = [line.split() for line in tables.splitlines()]
    ours = [row for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    sockets = {f"socket:[{row[9]}]" for row in ours}
    for file in glob.iglob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):  # closed meanwhile, or another user's
            if os.readlink(file) in sockets:
                process = Path(file).parents[1]
                return f"process {process.name} ({(process / 'comm').read_text('utf-8').strip()})"
    return "a process of another user" if ours else ""


def versions(_: Settings) -> Iterator[Finding]:
    """Python, the libraries that vectors depend on, and what resizes images."""
    shown = ", ".join(f"{name} {version}" for name, version in vector_libraries().items() if version)
    about = f"clipserve {__version__}, Python {platform.python_version()}, {platform.platform()}, {shown}"
    about += f"; images are resized by {resampling.RESIZED_BY}"
    do = "install gcc and Python's headers, then clipserve again: its own code resizes several times faster"
    slow = Finding("versions", "warning", about, do)
    yield slow if resampling.RESIZED_BY == "Pillow" else Finding("versions", "ok", about)


def cpu(_: Settings, cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """The CPU, and the quota of the cgroup."""
    quota = cpu_quota(cgroup)
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(
        r"model name\s*: (.*)", cpuinfo.read_text("utf-8", "replace") if cpuinfo.exists() else ""
    )
    about = f"{name[1] if name else platform.machine()}, {affinity()} cores, quota: {quota or 'none'}"
    do = "give it a core or more (resources.limits.cpu, docker --cpus): without, the kernel stops probes too"
    yield Finding("cpu", "warning", about, do) if quota and quota < 1 else Finding("cpu", "ok", about)


def hub(settings: Settings) -> Iterator[Finding]:
    """Whether the hub is reached, if a model must come from it first, which the doctor does not do."""
    try:
        for model in settings.models:
            find(model, settings)
    except NoSuchModel as absent:
        if absent.in_folder:
            return
        try:
            with suppress(OddAnswer):  # a list, which is the answer of a hub
                ask_once(
                    os.environ.get("HF_ENDPOINT") or _HUB, None, None, "GET", "/api/models?limit=1", Answer
                )
        except ClipserveError as failed:
            do = "open the way to it, set HTTPS_PROXY or HF_ENDPOINT, or copy the artifact here"
            yield Finding("hub", "problem", str(failed), do)


def keys(settings: Settings) -> Iterator[Finding]:
    """Who else can write the file of keys. Shows only the number of keys."""
    if (path := settings.keys_file) is None:
        return
    with suppress(KeyFileError, OSError):  # the start says it
        count = len(read_keys(path))
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            reason = f"{path} can be written by others than its owner, who could add a key"
            yield Finding("keys", "warning", reason, f"chmod go-w {path}")
        reason = f"{path} has no key: every request is refused"
        empty = Finding("keys", "warning", reason, "clipserve keys add NAME")
        yield Finding("keys", "ok", f"{path}: {count} keys") if count else empty
