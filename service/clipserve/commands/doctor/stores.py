"""Checks of what the service keeps and shares: Redis, the file of keys, the folder of its state."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipserve.access.key_file import KeyFileError, read_keys
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.settings import Settings

_SECONDS = 2.0  # for an answer of Redis


def redis_client(url: str) -> Any:
    """A client that waits a moment and asks once."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, retry=Retry(NoBackoff(), 0)
    )


def redis(context: Context) -> Iterator[Finding]:
    """Whether Redis answers, and keeps what it is given."""
    settings = context.settings
    if settings.redis_url is None:
        yield ok("not used: CLIPSERVE_REDIS_URL is not set")
        return
    from redis.exceptions import RedisError

    url = settings.redis_url.get_secret_value()
    where = _shown(url)
    try:
        with redis_client(url) as client:
            client.ping()
            about = _about(client)
            yield ok(f"Redis {about.get('redis_version', 'of an unknown version')} answers at {where}")
            if settings.label_set_store == "redis":
                yield from _kept(about)
    except (RedisError, OSError, ValueError) as error:
        yield problem(
            f"Redis at {where} cannot be asked: {_said(error)}",
            f"start it, or correct CLIPSERVE_REDIS_URL. Meanwhile {_without(settings)}",
        )


def _about(client: Any) -> dict[str, Any]:
    """What Redis says of itself; empty where this user may not ask."""
    from redis.exceptions import NoPermissionError

    try:
        about: dict[str, Any] = client.info()
    except NoPermissionError:
        return {}
    return about


def _kept(about: dict[str, Any]) -> Iterator[Finding]:
    """Label sets must outlive Redis' process, and must not be thrown away."""
    if about and not about.get("aof_enabled"):
        yield warning(
            "Redis does not write each change to disk: label sets may be lost", "set `appendonly yes`"
        )
    if about.get("maxmemory") and about.get("maxmemory_policy") != "noeviction":
        yield warning(
            f"Redis throws keys away when it is full ({about.get('maxmemory_policy')}), label sets too",
            "set `maxmemory-policy noeviction`",
        )


def _without(settings: Settings) -> str:
    lost = ["each gateway counts rates alone"] if settings.keys_file else []
    lost += ["no label set can be read or put"] if settings.label_set_store == "redis" else []
    return ", and ".join(lost)


def _shown(url: str) -> str:
    """Without user, password and options."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"
    except ValueError:
        return "an address that cannot be read"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def keys(context: Context) -> Iterator[Finding]:
    """The file of keys: good, and changed by nobody else. Nothing of what is in it is told but the number."""
    settings = context.settings
    path = settings.keys_file
    if path is None:
        if _is_loopback(settings.host):
            yield ok(f"no keys: anybody on this machine may ask ({settings.host})")
        else:
            yield warning(
                f"no keys, and it listens on {settings.host}: whoever reaches this address may use it",
                "set CLIPSERVE_KEYS_FILE (`clipserve keys add NAME`), or put in front what asks who calls",
            )
        return
    try:
        known = read_keys(path)
    except KeyFileError as error:
        yield problem(
            str(error), "correct that line, or make a file anew: `clipserve keys add NAME --file ...`"
        )
        return
    yield ok(
        f"{path}: {len(known)} keys, {sum('manage' in each.scopes for each in known)} of which may manage"
    )
    if not known:
        yield warning(f"{path} has no key: every request is refused", "`clipserve keys add NAME` adds one")
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield warning(
            f"{path} can be written by others than its owner: whoever can write it can let himself in",
            f"chmod go-w {path}",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def state(context: Context) -> Iterator[Finding]:
    """The folder of what must outlive the process, and room in it."""
    settings = context.settings
    if settings.label_set_store == "redis":
        yield ok("label sets are kept in Redis: CLIPSERVE_STATE_DIR is not used")
        return
    folder = settings.state_dir
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield warning(
            f"{there} cannot be written: label sets cannot be put",
            "set CLIPSERVE_STATE_DIR to a folder that this user may write, on a local disk",
        )
        return
    free, needed = _free(there), settings.max_label_sets_bytes
    if free < needed:
        yield warning(
            f"{free / 1e6:,.0f} MB are free in {there}; CLIPSERVE_MAX_LABEL_SETS_BYTES is {needed / 1e6:,.0f} MB",
            "make room, or lower the setting",
        )
    else:
        yield ok(f"{folder} {'is there' if there == folder else 'can be made'}, {free / 1e9:,.1f} GB free")


def _free(folder: Path) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize
