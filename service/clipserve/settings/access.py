"""The settings of access: keys, rates, and origins."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from clipserve.access.hosts import name_of
from clipserve.settings.values import Several


class AccessSettings(BaseModel):
    """A part of `Settings`."""

    keys_file: Path | None = Field(
        None, description="file of keys, which `clipserve keys add` writes; without it, no key is needed"
    )
    rows_per_second: int = Field(
        0, ge=0, le=10**9, description="images, texts and new prompts of one key; 0: no limit"
    )
    bytes_per_second: int = Field(0, ge=0, le=10**12, description="bodies of one key; 0: no limit")
    redis_url: SecretStr | None = Field(
        None,
        validate_default=True,
        description="redis://:password@host:6379/0, rediss:// with TLS: gateways share the rates of keys, which "
        "each counts by itself without it; also stores label sets, if label_set_store is `redis`",
    )
    metrics_open: bool = Field(True, description="/metrics needs no key; false: one with the scope `manage`")
    cors_origins: Several[str] = Field(
        (),
        description="origins whose scripts may call it, comma-separated: https://app.example.com; `*` for all",
    )

    allowed_hosts: Several[str] = Field(
        (),
        description="values of the header Host, comma-separated, that a service without keys on loopback accepts "
        "besides localhost, such as those that a proxy here passes on; `*` for all. Any other service accepts "
        "all",
    )

    trusted_proxies: Several[str] = Field(
        (),
        description="addresses and ranges, comma-separated, of the proxies in front: `10.0.0.7`, `172.16.0.0/12`; "
        "what they write into `X-Forwarded-For` is the client's address, for limits, turns and logs; empty: none",
    )

    @field_validator("rows_per_second", "bytes_per_second", "metrics_open")
    @classmethod
    def _needs_keys(cls, value: object, info: ValidationInfo) -> object:
        without = cls.model_fields[str(info.field_name)].default
        if info.data.get("keys_file") is None and value != without:
            raise ValueError("without keys it has no effect: it needs CLIPSERVE_KEYS_FILE")
        return value

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # An invalid value is not in `info.data`, and has its own error.
        keys, store = info.data.get("keys_file", ...), info.data.get("label_set_store", ...)
        if value is None and store == "redis":
            raise ValueError("CLIPSERVE_LABEL_SET_STORE=redis needs it")
        if value is not None and keys is None and store == "files":
            raise ValueError(
                "nothing would use it: it needs CLIPSERVE_KEYS_FILE, for rates, or CLIPSERVE_LABEL_SET_STORE=redis"
            )
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("an address of Redis begins with redis:// or rediss://")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name_of(name) != name:
                raise ValueError(f"{name[:200]} is not a host: write its name in lower case, without a port")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            ip_network(name)  # raises ValueError, which says what is wrong
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, _, host = origin.partition("://")
            if origin != "*" and not (scheme in ("http", "https") and host and "/" not in host):
                raise ValueError(
                    f"{origin[:200]} is not an origin: write scheme://host[:port], without a path"
                )
        return value
