"""Every setting, with its unit, default and bounds; read once, at the start, from CLIPSERVE_* variables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, FilePath, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from clipserve import demo
from clipserve.api.limits import RequestLimits
from clipserve.fetching.hosts import Host
from clipserve.rest.compat.names import Compat
from clipserve.settings.access import AccessSettings
from clipserve.settings.cache import CacheSettings
from clipserve.settings.label_sets import LabelSetSettings
from clipserve.settings.model import ModelSettings
from clipserve.settings.values import Several, split

__all__ = ["ModelSettings", "Settings"]

# Variables that are no settings: of commands that call a server, and of docker-compose.yml.
_OF_OTHERS = {"clipserve_url", "clipserve_key", "clipserve_image"}
# What Kubernetes sets in each pod for a Service `clipserve` or `clipserve-NAME` of its namespace, unless it has
# `enableServiceLinks: false`. Its CLIPSERVE_PORT has the name of a setting, but another value.
_OF_KUBERNETES = re.compile(
    r"clipserve_(.+_)?(service_(host|port(_.+)?)=.*"
    r"|port=(tcp|udp|sctp)://.*|port_[0-9]+_(tcp|udp|sctp)(_(proto|port|addr))?=.*)"
)


class Environment(EnvSettingsSource):
    """CLIPSERVE_* variables. Unlike pydantic's own, it gives unknown ones too, so that they are refused."""

    def __call__(self) -> dict[str, Any]:
        known = {f"clipserve_{name}" for name in self.settings_cls.model_fields} | _OF_OTHERS
        unknown = {
            name: value
            for name, value in self.env_vars.items()
            if name.startswith("clipserve_")
            and name not in known
            and not _OF_KUBERNETES.fullmatch(f"{name}={value}")
        }
        return unknown | super().__call__()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        return None if _OF_KUBERNETES.fullmatch(f"clipserve_{field_name}={value}") else value, key, is_complex


def as_model(written: str) -> Path:
    """A name, a folder or NAME=FOLDER. A folder that begins with `./` becomes absolute: a Path would forget it."""
    name, equals, folder = written.rpartition("=")
    if folder.startswith(("./", "../")):
        return Path(f"{name}{equals}{os.path.abspath(folder)}")
    return Path(written)


# Fields of the last class are validated first: AccessSettings needs those of LabelSetSettings.
class Settings(ModelSettings, AccessSettings, CacheSettings, LabelSetSettings, BaseSettings):
    """`python -m clipserve settings` prints this as a table."""

    model_config = SettingsConfigDict(env_prefix="CLIPSERVE_", frozen=True, extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Environment(settings_cls)

    models: Annotated[tuple[Path, ...], NoDecode] = Field(
        (demo.FOLDER,),
        min_length=1,
        description="models, comma-separated, the first is the default: `demo`, a name of `clipserve models list`, "
        "a repository of the Hugging Face hub (`org/name`, `org/name@revision`), or a folder of an artifact or of "
        "weights; what begins with `/`, `./` or `../` is a folder. `NAME=` before one is its name in requests",
    )
    model_aliases: Several[str] = Field(
        (),
        description="other names of models in requests, comma-separated: `text-embedding-3-small` for the first "
        "model, `clip=ViT-B-32` for another; empty: none",
    )
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8080, ge=0, le=65535, description="REST port")
    grpc_port: int = Field(8081, ge=0, le=65535, description="gRPC port")
    grpc_enabled: bool = Field(True, description="listen on grpc_port")
    grpc_tls_cert_file: FilePath | None = Field(
        None,
        description="certificates of the gRPC port, PEM, its own first; without them it is not encrypted",
    )
    grpc_tls_key_file: FilePath | None = Field(
        None, description="the key of that certificate, PEM", validate_default=True
    )
    grpc_tls_client_ca_file: FilePath | None = Field(
        None, description="gRPC clients must have a certificate that one of these has signed, PEM"
    )
    operations_port: int = Field(8082, ge=0, le=65535, description="port of /livez, /readyz and /metrics")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level logged")
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry collector, OTLP over HTTP: `http://collector:4318`; gets the spans of "
        "requests whose `traceparent` says sampled; needs `clipserve-core[tracing]`",
    )
    trace_ratio: float = Field(
        0.0, ge=0, le=1, description="share of the requests without `traceparent` that are traced"
    )
    model_settings: dict[str, ModelSettings] = Field(
        {},
        description="settings of single models, those marked in the last column, as JSON: "
        '`{"ViT-B-32": {"backend": "triton", "triton_url": "gpu:8001"}}`',
    )
    decode_threads: int = Field(
        0, ge=0, le=1024, description="images decoded at a time; 0: as many as the quota has cores"
    )
    decode_memory_bytes: int = Field(
        512_000_000,
        ge=10_000_000,
        description="memory of all images that are being decoded; an image that needs more is refused",
    )
    decode_processes: bool = Field(
        True,
        description="decode in separate processes, which can be killed; false: in threads of the service",
    )
    deadline_seconds: float = Field(
        10.0, gt=0, le=3600, description="time for one request, from its last byte"
    )
    body_timeout_seconds: float = Field(15.0, gt=0, le=3600, description="time for a request body to arrive")
    max_body_bytes: int = Field(20_000_000, ge=1, description="request body, or message of gRPC")
    max_in_flight_bytes: int = Field(
        256_000_000,
        ge=1,
        validate_default=True,
        description="all bodies of requests in memory, and large answers; at least max_body_bytes",
    )
    max_in_flight_bytes_per_address: int = Field(
        128_000_000,
        ge=1,
        validate_default=True,
        description="of one client address, which has half of the connections, calls of gRPC and bulk requests "
        "too; at least max_body_bytes; behind a proxy set it to max_in_flight_bytes: then one address may have all "
        "of them",
    )
    max_connections: int = Field(
        512,
        ge=1,
        description="open connections of a front; beyond it, REST closes idle ones, and gRPC refuses new ones",
    )
    keep_alive_seconds: float = Field(
        65.0,
        gt=0,
        le=3600,
        description="time between two requests on a connection; longer than a proxy's in front",
    )
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="time after SIGTERM in which it is not ready and still listens; longer than a load balancer "
        "needs to see it",
    )
    drain_seconds: int = Field(25, ge=0, description="time for requests in flight to end after that")
    max_images: int = Field(RequestLimits.max_images, ge=1, description="images in a request")
    max_texts: int = Field(
        RequestLimits.max_texts, ge=1, description="texts in a request; more raise the limit of JSON too"
    )
    max_labels: int = Field(
        RequestLimits.max_labels,
        ge=1,
        description="labels in a request; more raise the limits of their text and of JSON too",
    )

    page: bool = Field(True, description="serve the page for people at `/` of the REST port")
    compat: Several[Compat] = Field(
        get_args(Compat),
        description="other servers whose endpoints are served for their clients, comma-separated; empty: none",
    )

    image_hosts: Several[str] = Field(
        (),
        description="hosts from which images may be fetched by URL, comma-separated: `images.example.com`, "
        "`*.example.com`, `http://files.internal:9000=10.0.0.0/8`; empty: none",
    )

    @field_validator("max_in_flight_bytes", "max_in_flight_bytes_per_address")
    @classmethod
    def _has_room_for_a_body(cls, value: int, info: ValidationInfo) -> int:
        # A body that does not fit now may wait; one that never fits would wait for ever.
        if value < (body := info.data.get("max_body_bytes", 0)):
            raise ValueError(
                f"a body of CLIPSERVE_MAX_BODY_BYTES={body} would never fit: allow at least that many"
            )
        return value

    @field_validator("grpc_tls_key_file")
    @classmethod
    def _with_certificate(cls, value: Path | None, read: ValidationInfo) -> Path | None:
        # An invalid value is not in `read.data`, and has its own error.
        if (value is None) != (read.data.get("grpc_tls_cert_file", value) is None):
            raise ValueError("set both grpc_tls_cert_file and grpc_tls_key_file, or neither")
        return value

    @field_validator("grpc_tls_client_ca_file")
    @classmethod
    def _with_key(cls, value: Path | None, read: ValidationInfo) -> Path | None:
        if value is not None and read.data.get("grpc_tls_key_file", value) is None:
            raise ValueError("it needs grpc_tls_cert_file and grpc_tls_key_file")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)  # raises ValueError
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("write a URL with its scheme, http://collector:4318")
        if url.username or url.query or url.fragment:
            raise ValueError(
                "only scheme, host, port and path; credentials are for OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value

    @field_validator("image_hosts")
    @classmethod
    def _are_hosts_of_images(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Host.parse(text)
        return value

    @field_validator("keys_file", "label_sets_folder", mode="before")
    @classmethod
    def _has_a_name(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():
            raise ValueError("it is empty: write a path, or leave the setting out")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        folders = split(value)
        if isinstance(folders, list) and "" in folders:
            raise ValueError("it has an empty name: write names or folders, with one comma between two")
        return [as_model(each) for each in folders] if isinstance(folders, list) else folders

    @property
    def of_models(self) -> Sequence[ModelSettings]:
        """All settings, and those of each model that has its own."""
        return [self, *(self.of_model(name) for name in self.model_settings)]

    @property
    def shares_address(self) -> bool:
        """Whether all clients may have one address, that of a proxy."""
        return self.max_in_flight_bytes_per_address >= self.max_in_flight_bytes

    def of_model(self, name: str) -> ModelSettings:
        """All settings, those of one model overridden by its own in `model_settings`."""
        settings = self.model_settings.get(name, ModelSettings())
        return self.model_copy(
            update={field: getattr(settings, field) for field in settings.model_fields_set}
        )
