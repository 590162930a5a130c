"""What each of several processes may use, so that all together use no more than the settings say.

The rule: what bounds all requests at a time is divided; what bounds one request, or a time, is the same in each
process. A part is at least 1. The admission needs no part: each process measures how fast its own rows leave.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from clipserve.access.key_file import read_keys
from clipserve.clip.artifact import read_manifest
from clipserve.cores import usable_cores
from clipserve.settings import ModelSettings, Settings
from clipserve.wiring.start_faults import CannotShare

# 0 means "no limit" or "off" where it is allowed, and stays.
_DIVIDED = (
    "max_connections",
    "max_connections_per_address",
    "grpc_max_calls",
    "max_bulk_requests",
    "max_in_flight_bytes",
    "max_in_flight_bytes_per_address",
    "decode_memory_bytes",
)
_DIVIDED_BY_MODEL = ("label_cache_bytes", "image_cache_bytes")


def share(settings: Settings, number: int) -> Settings:
    """The settings of the process `number`, from 0 on. `check_shared` has let them pass."""
    every = settings.processes

    def part(total: int) -> int:
        return max(1, total // every + (number < total % every)) if total else 0

    changes: dict[str, object] = {name: part(getattr(settings, name)) for name in _DIVIDED}
    changes["decode_threads"] = part(settings.decode_threads or usable_cores())
    changes |= _caches(settings, part)
    changes["model_settings"] = {
        name: own.model_copy(
            update={each: size for each, size in _caches(own, part).items() if each in own.model_fields_set}
        )
        for name, own in settings.model_settings.items()
    }
    return settings.model_copy(update=changes)


def _caches(settings: ModelSettings, part: Callable[[int], int]) -> dict[str, int]:
    return {name: part(getattr(settings, name)) for name in _DIVIDED_BY_MODEL}


def check_shared(settings: Settings) -> None:
    """Whether several processes can serve with these settings.

    Raises:
        CannotShare: they cannot.
        ArtifactError, KeyFileError: a model or the file of keys cannot be read.
    """
    if sys.platform != "linux":  # elsewhere SO_REUSEPORT exists, and does not share out connections
        raise CannotShare(f"{_named(settings)}: processes share a port on Linux alone. Leave it at 1.")
    _check_encoders(settings)
    _check_rates(settings)
    _check_bytes(settings)


def _named(settings: Settings) -> str:
    return f"CLIPSERVE_PROCESSES={settings.processes}"


def _check_encoders(settings: Settings) -> None:
    backends = {name: settings.of_model(name).backend for name in map(_name_of, settings.models)}
    inside = [name for name, backend in backends.items() if backend != "triton"]
    if inside:
        raise CannotShare(
            f"{_named(settings)} is for encoders on Triton (CLIPSERVE_BACKEND=triton), and those of "
            f"{', '.join(inside)} run in the service itself: each process would hold the model, and batches would "
            "not be shared. Leave it at 1: such encoders use all cores (CLIPSERVE_THREADS, CLIPSERVE_WORKERS)."
        )


def _name_of(folder: Path) -> str:
    return read_manifest(folder).name


def _check_rates(settings: Settings) -> None:
    if settings.redis_url or not settings.keys_file:
        return
    keys = read_keys(settings.keys_file)
    own = any(key.rows_per_second or key.bytes_per_second for key in keys)
    if own or settings.rows_per_second or settings.bytes_per_second:
        raise CannotShare(
            f"{_named(settings)} and rates of keys need CLIPSERVE_REDIS_URL: each process alone would count only "
            "what comes on its own connections, and a key could use several times its rate."
        )


def _check_bytes(settings: Settings) -> None:
    """A body, or an image, that fits into the whole fits into the least part too, or it would never be taken."""
    smallest = share(settings, settings.processes - 1)
    least_decoding = 10_000_000  # as the setting itself has it
    for name, need, of in (
        ("max_in_flight_bytes", settings.max_body_bytes, "CLIPSERVE_MAX_BODY_BYTES"),
        ("max_in_flight_bytes_per_address", settings.max_body_bytes, "CLIPSERVE_MAX_BODY_BYTES"),
        ("decode_memory_bytes", least_decoding, "the least that decoding takes"),
    ):
        whole, part = getattr(settings, name), getattr(smallest, name)
        if part < need <= whole:
            raise CannotShare(
                f"CLIPSERVE_{name.upper()}={whole} is {part} for each of {settings.processes} processes; {of} is "
                f"{need}. Set it to {need * settings.processes} or more, or take fewer processes."
            )
