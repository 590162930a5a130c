"""The doctor beside a real Redis."""

from __future__ import annotations

from pathlib import Path

from clipserve.access.key_file import add_key
from tests.commands.doctor.asking import doctor
from tests.redis_server import PASSWORD, RedisServer


def test_a_redis_that_counts_rates_is_no_fault(redis: RedisServer, tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "camera", ["use"])
    told = doctor("--only", "redis", redis_url=redis.url, keys_file=tmp_path / "keys")
    assert (told.status, {line["level"] for line in told.lines()}) == (0, {"ok"})
    assert PASSWORD not in told.output


def test_a_redis_that_keeps_label_sets_in_memory_alone_is_a_warning(redis: RedisServer) -> None:
    told = doctor("--only", "redis", redis_url=redis.url, label_set_store="redis")
    assert "appendonly is no" in told.only("warning")["found"]
    redis.ask("config", "set", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru", "appendonly", "yes")
    told = doctor("--only", "redis", redis_url=redis.url, label_set_store="redis")
    assert "allkeys-lru" in told.only("warning")["found"]


def test_a_wrong_password_is_a_problem_that_does_not_tell_it(redis: RedisServer) -> None:
    url = redis.url.replace(PASSWORD, "another-password")
    told = doctor("--only", "redis", redis_url=url, label_set_store="redis")
    assert "invalid username-password pair" in told.only("problem")["found"]
    assert "another-password" not in told.output
