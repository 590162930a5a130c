"""Checks of the service's ports, and of Redis."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.wiring.listening import CannotListen, listen

_SECONDS = 10.0  # for an answer of Redis
_LISTENING = "0A"  # in /proc/net/tcp


def ports(context: Context) -> Iterator[Finding]:
    """Check whether each port is free; if not, report who uses it."""
    settings = context.settings
    wanted = {"CLIPSERVE_PORT": settings.port}
    if settings.grpc_enabled:
        wanted["CLIPSERVE_GRPC_PORT"] = settings.grpc_port
    wanted["CLIPSERVE_OPERATIONS_PORT"] = settings.operations_port
    for port, times in Counter(wanted.values()).items():
        if port and times > 1:
            names = ", ".join(name for name, other in wanted.items() if other == port)
            yield problem(f"{names} are all {port}", "give each a port of its own")
    for name, port in wanted.items():
        try:
            listen(name, settings.host, port).close()
        except CannotListen as error:
            yield _taken(name, port, str(error))
        else:
            yield ok(f"{name}={port} is free on {settings.host}" if port else f"{name}=0: any that is free")


def _taken(name: str, port: int, error: str) -> Finding:
    reason = error.partition(". Choose another")[0]
    if (process := listener_on(port)) is None:
        do = f"choose another, or another CLIPSERVE_HOST; `ss -ltnp` as root tells who has {port}"
        return problem(reason, do)
    # Arguments may be secrets: report only whether it is clipserve.
    words = (process / "cmdline").read_text("utf-8", "replace").split("\0")
    if any(Path(word).name == "clipserve" for word in words[:3]):
        return warning(
            f"{reason}: a clipserve runs here already, process {process.name}",
            "nothing, if that is the one you mean: examine it with `clipserve doctor --url`. A second one needs "
            "ports of its own",
        )
    who = f"process {process.name} ({Path(words[0]).name})"
    return problem(f"{reason}: {who} has it", f"end that process, or set {name} to another port")


def listener_on(port: int) -> Path | None:
    """The folder in /proc of the listening process; None if there is none, or another user has it."""
    sockets = set[str]()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text("utf-8").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for file in glob.iglob("/proc/[0-9]*/fd/*") if sockets else ():
        with suppress(OSError):  # closed meanwhile, or another user's
            if os.readlink(file) in sockets:
                return Path(file).parents[1]
    return None


def redis(context: Context) -> Iterator[Finding]:
    """Check whether Redis answers, and whether it evicts data."""
    settings = context.settings
    if settings.redis_url is None:
        yield ok("nothing to check: CLIPSERVE_REDIS_URL is not set")
        return
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import NoPermissionError, RedisError
    from redis.retry import Retry

    url = settings.redis_url.get_secret_value()
    address = urlsplit(url)
    where = f"Redis at {address.scheme}://{address.hostname}:{address.port or 6379}{address.path}"
    about: dict[str, Any] = {}
    try:
        once = {"retry": Retry(NoBackoff(), 0), "socket_timeout": _SECONDS}
        with Redis.from_url(url, socket_connect_timeout=_SECONDS, **once) as client:
            client.ping()
            with suppress(NoPermissionError):  # this user may not call INFO
                about = client.info()
        yield ok(f"{where} answers: version {about.get('redis_version', 'unknown')}")
    except (RedisError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        yield problem(
            f"{where} cannot be asked: {reason}",
            "start it, or correct CLIPSERVE_REDIS_URL. Meanwhile each gateway counts rates by itself, and label "
            "sets that are stored there cannot be read or put",
        )
    policy = about.get("maxmemory_policy") if about.get("maxmemory") else "noeviction"
    if about and settings.label_set_store == "redis" and (not about["aof_enabled"] or policy != "noeviction"):
        yield warning(
            f"Redis may lose label sets: appendonly is {'yes' if about['aof_enabled'] else 'no'}, and when it is "
            f"full its policy is {policy}",
            "set `appendonly yes` and `maxmemory-policy noeviction`",
        )
