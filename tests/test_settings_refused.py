"""Settings that cannot be meant are refused with a sentence, and no secret is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clipserve.settings import BadSettings, Settings, read_settings
from tests.support.process import failed_start

KEYS: dict[str, Any] = {"keys_file": Path("keys")}
CERTIFICATE: dict[str, Any] = {"grpc_tls_cert_file": Path(__file__), "grpc_tls_key_file": Path(__file__)}
CLIENT_CA: dict[str, Any] = {"grpc_tls_client_ca_file": Path(__file__)}
REDIS = {"redis_url": "redis://localhost"}
ORIGINS = ["a.example.com", "https://a.example.com/", "https://a/b", "ftp://a", "null"]
BODY = "CLIPSERVE_MAX_BODY_BYTES="

REFUSED: dict[str, list[dict[str, Any]]] = {
    "is not a host": [{"allowed_hosts": (name,)} for name in ("http://a", "a:8080", "A", "a.", " ")],
    "is not an origin": [{"cors_origins": (origin,)} for origin in ORIGINS],
    "needs CLIPSERVE_KEYS_FILE": [{"rows_per_second": 1}, {"bytes_per_second": 1}, {"metrics_open": False}],
    # It would be the present folder. Nor is it no path: an empty variable must not let everybody in.
    "write a path, or leave the setting out": [{"keys_file": value} for value in ("", " ")],
    "nothing would use it: it needs CLIPSERVE_KEYS_FILE, for rates, or": [REDIS],
    "CLIPSERVE_LABEL_SET_STORE=redis needs it": [{"label_set_store": "redis"}],
    "begins with redis://": [
        KEYS | {"redis_url": url} for url in ("localhost:6379", "http://localhost", "", "unix:///tmp/redis")
    ],
    "at least 1 item": [{"triton_url": ""}],
    "is not host:port": [{"triton_url": "one"}],
    "no scheme": [{"triton_url": "http://one:8001"}],
    "an endpoint twice": [{"triton_url": "one:8001,one:8001"}],
    "set both grpc_tls_cert_file": [{name: path} for name, path in CERTIFICATE.items()],
    "it needs grpc_tls_cert_file and grpc_tls_key_file": [CLIENT_CA],
    # A body that is allowed fits into what all, and what one address, may hold.
    f"(?s)^1 validation.*\nmax_in_flight_bytes\n.*{BODY}": [
        {"max_in_flight_bytes": 19_999_999},
        {"max_body_bytes": 300_000_000, "max_in_flight_bytes_per_address": 300_000_000},
    ],
    f"(?s)^1 validation.*\nmax_in_flight_bytes_per_address\n.*{BODY}": [
        {"max_in_flight_bytes_per_address": 19_999_999},
    ],
    # It would end the limits of an address, as for a proxy, without a word.
    "=20000000, so one address could.* set the latter to 40000000, or": [{"max_in_flight_bytes": 20_000_000}],
}
ACCEPTED: list[dict[str, Any]] = [
    KEYS | {"rows_per_second": 1, "bytes_per_second": 1, "metrics_open": False},
    KEYS | REDIS,
    REDIS | {"label_set_store": "redis"},
    CERTIFICATE,
    CERTIFICATE | CLIENT_CA,
    {"max_body_bytes": 200_000_000},
    {"max_in_flight_bytes": 20_000_000, "max_in_flight_bytes_per_address": 20_000_000},
]


@pytest.mark.parametrize(
    ("said", "values"), [(said, each) for said, all_of in REFUSED.items() for each in all_of]
)
def test_what_cannot_be_meant_is_refused(said: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(values)


@pytest.mark.parametrize("values", ACCEPTED)
def test_what_belongs_together_is_accepted_together(values: dict[str, Any]) -> None:
    Settings.model_validate(values)


def test_a_password_of_redis_is_not_told() -> None:
    settings = Settings(**KEYS, redis_url="redis://:secret@localhost")
    assert "secret" not in repr(settings)
    status, reason = failed_start(redis_url="http://:secret@localhost", keys_file="keys")
    assert status == 2
    assert "CLIPSERVE_REDIS_URL=...: an address of Redis begins with" in reason
    assert "secret" not in reason


@pytest.mark.parametrize(
    "given", ["grpc://me:secret@one:8001", "me:secret@one:8001", "one:8001,secret@two:8001"]
)
@pytest.mark.parametrize("of_a_model", [False, True])
def test_a_password_before_an_endpoint_is_not_told(
    monkeypatch: pytest.MonkeyPatch, given: str, of_a_model: bool
) -> None:
    monkeypatch.setenv("CLIPSERVE_TRITON_URL", "one:8001" if of_a_model else given)
    if of_a_model:
        monkeypatch.setenv("CLIPSERVE_MODEL_SETTINGS", json.dumps({"a": {"triton_url": given}}))
    with pytest.raises(BadSettings, match="is not host:port") as refused:
        read_settings()
    assert "secret" not in str(refused.value)
    assert "8001" in str(refused.value)
