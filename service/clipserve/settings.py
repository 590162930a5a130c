"""Every setting, with its unit, default and bounds; read once, at the start, from CLIPSERVE_* variables.

`Settings.options` fills the options of a package by the names of its fields: by the setting of that name, by what
follows one (`_DERIVED`), else with the default there.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from clipserve import demo
from clipserve.access.hosts import ROOT_PATH, name_of
from clipserve.api.limits import RequestLimits
from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits
from clipserve.engine.backends import BACKENDS, BackendKind, BackendName
from clipserve.engine.calls import ON_CPU, ON_GPU, Calls
from clipserve.engine.cuda import Device
from clipserve.engine.triton.address import parse_address
from clipserve.fetching.hosts import Host
from clipserve.rest.compat.names import Compat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)

T = TypeVar("T")

_BODY_BYTES, _BODY_SECONDS = 20_000_000, 15.0  # as long a body by default may take
_PROGRESSIVE_SCANS = 10  # of usual JPEG encoders
_WRITTEN = {
    "cors_origins": (r"\*|https?://[^/]+", "an origin: write scheme://host[:port], without a path"),
    "root_path": (
        ROOT_PATH,
        "a prefix: write /clip or /ai/clip, of letters, digits and -._~, without a / at its end",
    ),
}
_LEAST_LIKENESS = 0.5  # of a misspelt name
_USER = re.compile(r"[^/@\s'\",]+(?=@)")  # the user and password of a URL
_SHOWN = {"models": "demo", "cache_dir": "~/.cache/clipserve", "state_dir": "~/.local/state/clipserve"}
# Variables that are no settings: of commands that call a server, and of docker-compose.yml.
_OF_OTHERS = {"clipserve_url", "clipserve_key", "clipserve_image"}
# What Kubernetes sets in each pod for a Service `clipserve` or `clipserve-NAME` of its namespace, unless it has
# `enableServiceLinks: false`. Its CLIPSERVE_PORT has the name of a setting, but another value.
_OF_KUBERNETES = re.compile(
    r"clipserve_(.+_)?(service_(host|port(_.+)?)=.*"
    r"|port=(tcp|udp|sctp)://.*|port_[0-9]+_(tcp|udp|sctp)(_(proto|port|addr))?=.*)"
)
# Former settings, and what there is instead.
GONE = {
    "BODY_TIMEOUT_SECONDS": "it is 15 s, and in proportion more with a larger CLIPSERVE_MAX_BODY_BYTES",
    "DECODE_MEMORY_BYTES": "it is 512 MB; CLIPSERVE_MAX_PIXELS limits a single image",
    "EXPORT": "HF_HUB_OFFLINE=1 downloads nothing, and without clipserve-models nothing is exported",
    "MAX_LABEL_SETS_BYTES": "it is 256 MB",
    "MAX_LABEL_SET_BYTES": "it is two fifths of CLIPSERVE_MAX_BODY_BYTES",
    "MAX_LABELS": "it is 1,000, and in proportion more with a larger CLIPSERVE_MAX_TEXTS",
    "MAX_QUEUE_DELAY_SECONDS": "no row waits for others: batches form while calls run",
    "OTLP_ENDPOINT": "set OTEL_EXPORTER_OTLP_ENDPOINT, OpenTelemetry's own variable",
    "TRACE_RATIO": "set OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG",
    "WORKERS": "one call at a time, on a GPU two; several gateways, each with CLIPSERVE_THREADS, make more",
}


def _xdg(variable: str, usual: str, without_home: str) -> Path:
    """clipserve's folder in the absolute one that `variable` names, else in `usual`, or `without_home`."""
    base = Path(os.environ.get(variable, ""))
    if not base.is_absolute():
        base = Path(os.path.expanduser(usual))  # unchanged for a user without a home
    return base / "clipserve" if base.is_absolute() else Path(without_home)


def as_model(written: str) -> Path:
    """A name, a folder or NAME=FOLDER. A folder that begins with `./` becomes absolute: a Path would forget it."""
    name, equals, folder = written.rpartition("=")
    if folder.startswith(("./", "../", "~")):
        return Path(f"{name}{equals}{os.path.abspath(os.path.expanduser(folder))}")
    return Path(written)


def _path(value: object) -> object:
    """`~` is expanded. An empty path would be the present folder, and must not let everybody in."""
    path = os.path.expanduser(value).strip() if isinstance(value, str) else value
    if path == "" or str(path).startswith("~"):
        raise ValueError("write a path, or leave the setting out; `~` needs a user with a home")
    return path


def _split(value: object) -> object:
    return [part for part in map(str.strip, value.split(",")) if part] if isinstance(value, str) else value


Port = Annotated[int, Field(ge=0, le=65_535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3_600)]
Folder = Annotated[Path, BeforeValidator(_path)]
Several = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split)]  # with commas


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


class ModelSettings(BaseModel):
    """`model_settings` may contain each of these. The defaults of images are those of `ImageLimits`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    backend: BackendName = Field(
        "auto",
        description="where the encoders run: "
        + "; ".join(f"`{name}`: {kind.meaning}" for name, kind in BACKENDS.items()),
    )
    device: Device = "auto"
    """`cuda` refuses to start if CUDA does not work; `auto` uses it if it works, and else warns of a GPU"""
    threads: int = Field(0, ge=0, le=1024)
    """threads of one encoder call; 0: the cores of the quota, on a GPU one"""
    max_batch_images: int | None = Field(None, ge=1, le=1024)
    """images in one encoder call; unset, as many as take 0.25 s"""
    max_batch_texts: int | None = Field(None, ge=1, le=4096)
    """texts in one encoder call; more raise its limit of tokens too"""
    unload_after_seconds: float = Field(0.0, ge=0)
    """free the encoders' memory after so long without a request; the next one waits for the load; 0: never"""
    triton_url: Several[str] = Field(("localhost:8001",), min_length=1)
    """host:port of Triton's gRPC endpoints, comma-separated; a name stands for all its addresses"""
    triton_tls: bool = False
    """encrypt the connection to Triton"""
    triton_ca_file: FilePath | None = None
    """certificates to trust; without it the system's"""
    triton_token: SecretStr | None = None
    """sent to Triton: as a bearer token, and as its restricted-protocol key `token`"""
    image_formats: Several[str] = Field(
        ImageLimits.image_formats,
        min_length=1,
        description=f"decoded formats, of {', '.join((*FORMATS, *OPTIONAL))}",
    )
    max_pixels: Positive = ImageLimits.max_pixels
    """pixels of an image; those of a request may have twice as many, and at least 100 million"""
    exif_transpose: bool = ImageLimits.exif_transpose
    """turn photos upright first; the reference does not"""
    scaled_decode: bool = ImageLimits.scaled_decode
    """decode JPEGs above 2 megapixels at reduced scale: over twice as fast, nearly the same pixels"""
    max_queue_seconds: float = Field(1.0, ge=0, le=3600)
    """refuse a request if more work than this is queued before it"""
    image_cache_bytes: int = Field(0, ge=0)
    """cached vectors of images, of a model; 0: no cache"""

    def options(self, kind: type[Options], usual: Options | None = None, **others: Any) -> Options:
        """Options of a package: `others`, what follows a setting, and the settings with the names of its fields.

        A field that is none of these has the value of `usual`, or else its default.
        """
        names = {each.name for each in fields(kind)} & (type(self).model_fields.keys() | _DERIVED)
        chosen = {name: getattr(self, name) for name in names} | others
        return replace(usual, **chosen) if usual else kind(**chosen)

    @property
    def backend_kind(self) -> BackendKind:
        """What is known of the backend before it is opened."""
        return BACKENDS[self.backend]

    def calls(self, *, on_gpu: bool) -> Calls:
        """The values that are set, and the device's defaults for the others."""
        usual = ON_GPU if on_gpu else ON_CPU
        return usual.with_chosen(self.max_batch_images, self.max_batch_texts, self.threads)

    def image_limits(self, others: ImageLimits | None = None) -> ImageLimits:
        """These, and `others` for limits that are not settings. A photo of any size may be progressive."""
        others = others or ImageLimits()
        scans = max(others.max_scan_pixels, _PROGRESSIVE_SCANS * self.max_pixels)
        return self.options(ImageLimits, others, max_scan_pixels=scans)

    @field_validator("triton_url")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({parse_address(each) for each in value}) != len(value):
            raise ValueError("it has an endpoint twice")
        return value

    @field_validator("triton_token", mode="before")
    @classmethod
    def _fits_a_header(cls, value: object) -> object:
        token = value.strip() if isinstance(value, str) else value  # a file ends with a newline
        if isinstance(token, str) and not (token and token.isascii() and token.isprintable()):
            raise ValueError("a token has printable ASCII characters only")
        return token

    @field_validator("image_formats")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.upper() for name in value)
        known = (*FORMATS, *OPTIONAL)
        if unknown := set(names) - set(known):
            raise ValueError(f"{', '.join(sorted(unknown))} is not one of {', '.join(known)}")
        if "HEIC" in names and not find_spec("pillow_heif"):
            raise ValueError("HEIC needs a decoder that is not installed: pip install 'clipserve-core[heif]'")
        return names


class Settings(ModelSettings, BaseSettings):
    """`clipserve settings` prints this as a table."""

    model_config = SettingsConfigDict(env_prefix="CLIPSERVE_")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Environment(settings_cls)

    models: Annotated[tuple[Path, ...], NoDecode] = Field((demo.FOLDER,), min_length=1)
    """models, comma-separated, the first is the default: `demo`, a name of `clipserve models list`, a repository of
    the Hugging Face hub (`org/name`, `org/name@revision`), or a folder (`/`, `./`), of an artifact or weights.
    `NAME=` before one is its name in requests, or another one: `ViT-B-32,text-embedding-3-small=ViT-B-32`"""
    cache_dir: Folder = Field(
        default_factory=lambda: _xdg("XDG_CACHE_HOME", "~/.cache", "/var/cache/clipserve")
    )
    """folder of models that are served by name; XDG_CACHE_HOME replaces ~/.cache"""
    host: str = Field("127.0.0.1", min_length=1)
    """address to listen on; 0.0.0.0 for all"""
    port: Port = 8080
    """REST port"""
    grpc_port: Port = 8081
    """gRPC port"""
    grpc_enabled: bool = True
    """listen on grpc_port"""
    grpc_tls_cert_file: FilePath | None = None
    """certificates of the gRPC port, PEM, its own first; without them it is not encrypted"""
    grpc_tls_key_file: FilePath | None = Field(None, validate_default=True)
    """the key of that certificate, PEM"""
    grpc_tls_client_ca_file: FilePath | None = None
    """gRPC clients must have a certificate that one of these has signed, PEM"""
    operations_port: Port = 8082
    """port of /livez, /readyz and /metrics"""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """least level logged"""
    model_settings: dict[str, ModelSettings] = {}
    """settings of single models, those marked in the last column, as JSON: `{"ViT-B-32": {"backend": "triton"}}`"""
    decode_threads: int = Field(0, ge=0, le=1024)
    """images decoded at a time; 0: as many as the quota has cores"""
    decode_processes: bool = True
    """decode in separate processes, which can be killed; false: in threads of the service"""
    deadline_seconds: Seconds = 10.0
    """time for one request, from its last byte"""
    max_body_bytes: Positive = _BODY_BYTES
    """request body, or message of gRPC"""
    max_in_flight_bytes: Positive = Field(256_000_000, validate_default=True)
    """all bodies of requests in memory, and large answers; more than max_body_bytes"""
    max_in_flight_bytes_per_address: int = Field(0, ge=0, validate_default=True)
    """bodies of one client address, which may also have half of all connections, gRPC calls and bulk requests; 0:
    half of max_in_flight_bytes, and at least max_body_bytes; behind a proxy set it to max_in_flight_bytes: then one
    address may have all of them"""
    max_connections: Positive = 512
    """open connections of REST, and of gRPC; beyond it, REST closes idle ones, and gRPC refuses new ones"""
    keep_alive_seconds: Seconds = 65.0
    """time between two requests on a connection; longer than that of a proxy"""
    drain_delay_seconds: float = Field(0.0, ge=0, le=3600)
    """time after SIGTERM in which it is not ready and still listens, for a load balancer to see it"""
    drain_seconds: int = Field(25, ge=0)
    """time for requests in flight to end after that"""
    max_images: Positive = RequestLimits.max_images
    """images in a request"""
    max_texts: Positive = RequestLimits.max_texts
    """texts in a request; more raise the limit of JSON too"""
    page: bool = True
    """serve the page for people at `/` of the REST port"""
    compat: Several[Compat] = get_args(Compat)
    """other servers whose endpoints are served for their clients, comma-separated; empty: none"""
    image_hosts: Several[str] = ()
    """hosts of images by URL, comma-separated: `*.example.com`, `http://files.internal:9000=10.0.0.0/8`"""
    state_dir: Folder = Field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", "~/.local/state", "/var/lib/clipserve")
    )
    """folder on a local disk for label sets, created at the first change; XDG_STATE_HOME replaces ~/.local/state"""
    label_set_store: Literal["files", "redis"] = "files"
    """store of label sets: `files`, in state_dir, for one machine; `redis`, which needs redis_url, for several"""
    keys_file: Annotated[Path | None, BeforeValidator(_path)] = None
    """file of keys, which `clipserve keys add` writes; without it, no key is needed"""
    rows_per_second: int = Field(0, ge=0, le=10**9)
    """images, texts and new prompts of one key; 0: no limit"""
    bytes_per_second: int = Field(0, ge=0, le=10**12)
    """bodies of one key; 0: no limit"""
    redis_url: SecretStr | None = Field(None, validate_default=True)
    """redis://:password@host:6379/0, rediss:// with TLS: for label sets, and rates of keys that gateways share"""
    metrics_open: bool = True
    """/metrics needs no key; false: one with the scope `manage`"""
    cors_origins: Several[str] = ()
    """origins whose scripts may call it, comma-separated: https://app.example.com; `*` for all"""
    allowed_hosts: Several[str] = ()
    """values of the header Host, comma-separated, that a service without keys on loopback accepts besides
    localhost; `*` for all. Any other service accepts all"""
    trusted_proxies: Several[str] = ()
    """addresses and ranges, comma-separated, of trusted proxies: `10.0.0.7`, `172.16.0.0/12`; what they write
    into `X-Forwarded-For` is the client's address, into `X-Forwarded-Prefix` the root_path; empty: none"""
    root_path: str = ""
    """prefix that a proxy strips from paths: `/clip`; for /openapi.json and /docs, as FastAPI's"""

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

    @field_validator("cors_origins", "root_path")
    @classmethod
    def _are_written_so(cls, value: T, info: ValidationInfo) -> T:
        pattern, said = _WRITTEN[str(info.field_name)]
        for each in value if isinstance(value, tuple) else [str(value)]:
            if not re.fullmatch(pattern, each, re.ASCII):
                raise ValueError(f"{each[:200]} is not {said}")
        return value

    @field_validator("max_in_flight_bytes", "max_in_flight_bytes_per_address")
    @classmethod
    def _has_room_for_a_body(cls, value: int, info: ValidationInfo) -> int:
        body = info.data.get("max_body_bytes", 0)
        if not value:  # of one address
            most = info.data.get("max_in_flight_bytes", 0)
            value = max(most // 2, body)
            if value == most == body:
                raise ValueError(
                    f"a body of CLIPSERVE_MAX_BODY_BYTES={body} takes all of CLIPSERVE_MAX_IN_FLIGHT_BYTES={most}, "
                    f"so one address could keep all others out: set the latter to {2 * body}, or, if all clients "
                    f"have the address of a proxy, this to {most}"
                )
        # A body that does not fit now may wait; one that never fits would wait for ever.
        if value < body:
            raise ValueError(
                f"a body of CLIPSERVE_MAX_BODY_BYTES={body} would never fit: allow at least that many"
            )
        return value

    @field_validator("grpc_tls_key_file", "grpc_tls_client_ca_file")
    @classmethod
    def _is_of_a_pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        # An invalid value is not in `info.data`, and has its own error.
        certificate, key = (info.data.get(f"grpc_tls_{name}_file", value) for name in ("cert", "key"))
        if info.field_name == "grpc_tls_key_file" and (value is None) != (certificate is None):
            raise ValueError("set both grpc_tls_cert_file and grpc_tls_key_file, or neither")
        if value is not None and key is None:
            raise ValueError("it needs grpc_tls_cert_file and grpc_tls_key_file")
        return value

    @field_validator("image_hosts", "trusted_proxies")
    @classmethod
    def _can_be_parsed(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for text in value:  # each raises ValueError, which says what is wrong
            Host.parse(text) if info.field_name == "image_hosts" else ip_network(text)
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        if not (models := _split(value)):
            raise ValueError("it is empty: write names or folders, with a comma between two")
        return [as_model(each) for each in models] if isinstance(models, list) else models

    @property
    def of_models(self) -> Sequence[ModelSettings]:
        """All settings, and those of each model that has its own."""
        return [self, *(self.of_model(name) for name in self.model_settings)]

    @property
    def body_timeout_seconds(self) -> float:
        """For a request body to arrive; in proportion more for larger bodies than by default."""
        return _BODY_SECONDS * max(1.0, self.max_body_bytes / _BODY_BYTES)

    @property
    def max_label_set_bytes(self) -> int:
        """Of a label set's texts and example images; in proportion to a body."""
        return round(RequestLimits.max_label_set_bytes * self.max_body_bytes / _BODY_BYTES)

    @property
    def max_labels(self) -> int:
        """Of a request; in proportion more for more texts than by default."""
        return round(RequestLimits.max_labels * max(1.0, self.max_texts / RequestLimits.max_texts))

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


# What follows a setting; each is a property of Settings with the name that options have.
_DERIVED = {"body_timeout_seconds", "max_label_set_bytes", "max_labels"}


class BadSettings(ValueError):
    """Invalid or unknown CLIPSERVE_* variables: `variables`. Each of `reasons` is a line for people."""

    def __init__(self, *reasons: str, variables: Collection[str] = ()) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
        self.variables = variables


def read_settings(**given: object) -> Settings:
    """The settings of the environment, overridden by the given ones.

    Raises:
        BadSettings: has each invalid variable, without the value of a secret.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type] # it is checked
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise BadSettings(*map(_reason, faults), variables={_variable(fault) for fault in faults}) from None
    except (SettingsError, RecursionError) as error:
        reason = f"a CLIPSERVE_* variable that must be JSON is not: {error}"
        raise BadSettings(reason, variables=["CLIPSERVE_MODEL_SETTINGS"]) from None


def _variable(fault: ErrorDetails) -> str:
    """The variable of a fault; of an unknown one pydantic has the whole name, not that of a field."""
    return f"CLIPSERVE_{str(fault['loc'][0]).upper().removeprefix('CLIPSERVE_')}"


def _reason(fault: ErrorDetails) -> str:
    variable, inside = _variable(fault), [str(each) for each in fault["loc"][1:]]
    if fault["type"] == "extra_forbidden" and not inside:  # its value may be a secret
        return f"{variable} is not a setting: {_meant(variable.removeprefix('CLIPSERVE_'))}"
    name = ".".join([variable, *inside])
    secret = name.lower().endswith(("token", "redis_url"))
    value = "..." if secret else repr(fault["input"])[:200]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        names = ", ".join(ModelSettings.model_fields)
        message = f"not a setting that may differ from model to model. Those are: {names}"
    return _USER.sub("...", f"{name}={value}: {message}")


def _meant(name: str) -> str:
    if name in GONE:
        return f"it is no longer one: {GONE[name]}"
    names = [name.upper() for name in Settings.model_fields]
    near = difflib.get_close_matches(name, names, 1, _LEAST_LIKENESS)
    return "".join(f"did you mean CLIPSERVE_{each}? " for each in near) + "`clipserve settings` lists all"


def as_markdown() -> str:
    """All settings as the table of docs/settings.md. Those that may differ between models come last."""
    rows = ["| variable | default | meaning | by model |", "| --- | --- | --- | --- |"]
    for name in sorted(Settings.model_fields, key=lambda name: name in ModelSettings.model_fields):
        by_model = "yes" if name in ModelSettings.model_fields else ""
        meaning = (Settings.model_fields[name].description or "").replace("\n", " ")
        rows.append(f"| `CLIPSERVE_{name.upper()}` | `{_default_text(name)}` | {meaning} | {by_model} |")
    return "\n".join(rows)


def _default_text(name: str) -> str:
    if name.startswith("max_batch"):
        return f"{getattr(ON_CPU, name)}, on a GPU {getattr(ON_GPU, name)}"
    value = _SHOWN.get(name, Settings.model_fields[name].default)
    if isinstance(value, tuple):
        return ",".join(value) or "None"
    return str(value).lower() if isinstance(value, bool) else str(value)
