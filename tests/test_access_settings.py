"""The settings of keys, rates and origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clipserve.settings import Settings
from tests.process import failed_start

KEYS: dict[str, Any] = {"keys_file": Path("keys")}


@pytest.mark.parametrize("name", ["http://a", "a:8080", "A", "a.", " "])
def test_a_host_is_a_name_as_it_is_compared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="is not a host"):
        Settings(allowed_hosts=(name,))
    monkeypatch.setenv("CLIPSERVE_ALLOWED_HOSTS", "clip.example, *")
    assert Settings().allowed_hosts == ("clip.example", "*")


@pytest.mark.parametrize(
    "chosen",
    [
        {"rows_per_second": 1},
        {"bytes_per_second": 1},
        {"metrics_open": False},
    ],
)
def test_what_is_about_keys_is_refused_where_there_are_none(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs CLIPSERVE_KEYS_FILE"):
        Settings(**chosen)
    Settings(**KEYS, **chosen)


@pytest.mark.parametrize("name", ["keys_file", "label_sets_folder"])
@pytest.mark.parametrize("value", ["", " "])
def test_a_path_that_is_empty_is_refused_as_such(name: str, value: str) -> None:
    """It would be the present folder. Nor is it no path: an empty variable must not let everybody in."""
    with pytest.raises(ValidationError, match="write a path, or leave the setting out"):
        Settings.model_validate({name: value})


def test_a_redis_is_for_rates_of_keys_or_for_label_sets() -> None:
    url = "redis://localhost"
    with pytest.raises(
        ValidationError, match="nothing would use it: it needs CLIPSERVE_KEYS_FILE, for rates, or"
    ):
        Settings(redis_url=url)
    Settings(**KEYS, redis_url=url)
    Settings(label_set_store="redis", redis_url=url)
    Settings(**KEYS, label_set_store="redis", redis_url=url)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "", "unix:///tmp/redis"])
def test_an_address_of_redis_says_so(url: str) -> None:
    with pytest.raises(ValidationError, match="begins with redis://"):
        Settings(**KEYS, redis_url=url)


def test_a_password_of_redis_is_not_shown(tmp_path: Path) -> None:
    settings = Settings(**KEYS, redis_url="redis://:secret@localhost")
    assert "secret" not in repr(settings)
    status, reason = failed_start(redis_url="http://:secret@localhost", keys_file="keys")
    assert status == 2
    assert "CLIPSERVE_REDIS_URL=...: an address of Redis begins with" in reason
    assert "secret" not in reason


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPSERVE_CORS_ORIGINS", "https://a.example.com, http://localhost:3000")
    assert Settings().cors_origins == ("https://a.example.com", "http://localhost:3000")
    monkeypatch.setenv("CLIPSERVE_CORS_ORIGINS", "")
    assert Settings().cors_origins == ()


@pytest.mark.parametrize(
    "origin", ["a.example.com", "https://a.example.com/", "https://a/b", "ftp://a", "null"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings(cors_origins=(origin,))
