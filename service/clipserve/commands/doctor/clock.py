"""The check of the clock: against whoever knows better, else against files that were made in the past."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from clipserve.clip.artifact import MANIFEST_NAME
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem
from clipserve.commands.doctor.stores import redis_client

MOST_SECONDS = 5.0  # apart; a Date header is told in whole seconds
_FIRST = datetime(2024, 1, 1, tzinfo=UTC).timestamp()  # clipserve is younger
_DAY = 86_400.0  # a file may be from another time zone, or from a file system with a clock of its own
_SECONDS = 2.0  # for an answer
_DO = (
    "set the clock: start an NTP client (systemd-timesyncd, chrony); in a virtual machine look at its host's"
)


@dataclass(frozen=True)
class Skew:
    """How many seconds the clock of `whom` is ahead of this machine's."""

    whom: str
    seconds: float

    def finding(self) -> Finding:
        ahead = "ahead of" if self.seconds < 0 else "behind"
        told = f"this machine's clock is {abs(self.seconds):,.0f} s {ahead} that of {self.whom}"
        if abs(self.seconds) > MOST_SECONDS:
            return problem(told, f"{_DO}. If it is the other one that is wrong, set that")
        return ok(f"the clock agrees with that of {self.whom} within {MOST_SECONDS:g} s")


def clock(context: Context) -> Iterator[Finding]:
    """Redis and the collector of traces know the time, where there are any; and no file is of the future."""
    now = time.time()
    newest, made = _newest(context)
    if now < max(_FIRST, made - _DAY):
        since = "2024" if now < _FIRST else f"{newest} was made ({_iso(made)})"
        yield problem(f"it is {_iso(now)} by this machine's clock, before {since}", _DO)
    else:
        yield ok(f"it is {_iso(now)}, after {newest} was made")
    yield from (skew.finding() for skew in _skews(context))


def _skews(context: Context) -> Iterator[Skew]:
    settings = context.settings
    if settings.redis_url is not None and (skew := _of_redis(settings.redis_url.get_secret_value())):
        yield skew
    if settings.otlp_endpoint is not None and (skew := _of_collector(settings.otlp_endpoint)):
        yield skew


def _of_redis(url: str) -> Skew | None:
    """None: it cannot be asked, which is another check's matter."""
    from redis.exceptions import RedisError

    try:
        with redis_client(url) as client:
            client.ping()
            began = time.time()
            seconds, microseconds = client.time()
            return Skew("Redis", seconds + microseconds / 1e6 - (began + time.time()) / 2)
    except (RedisError, OSError, ValueError):
        return None


def _of_collector(endpoint: str) -> Skew | None:
    from clipserve.client.errors import ClipserveError
    from clipserve.client.server import Server

    try:
        answer = Server(endpoint, seconds=_SECONDS).ask("GET", "")
    except ClipserveError:
        return None
    return skew_of_date("the collector of traces", answer.headers.get("date"), answer.began, answer.ended)


def skew_of_date(whom: str, date: str | None, began: float, ended: float) -> Skew | None:
    """Of a Date header that came between these two times; None: there is none that can be read."""
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return Skew(whom, told + 0.5 - (began + ended) / 2)  # the header cuts off the part of a second


def _newest(context: Context) -> tuple[str, float]:
    """Of the artifacts and the code: the last one made, and when."""
    files = [Path(__file__), *(folder / MANIFEST_NAME for folder in context.settings.models)]
    made = {str(each): each.stat().st_mtime for each in files if each.exists()}
    newest = max(made, key=lambda name: made[name])
    return newest, made[newest]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
