"""What the service may take of memory: the sum of docs/memory.md, which explains each row."""

from __future__ import annotations

from clipserve.application.stream import MAX_BULK_REQUESTS
from clipserve.commands.doctor.context import Context
from clipserve.cores import usable_cores
from clipserve.http1.connections import ConnectionLimits
from clipserve.rpc.options import MAX_CALLS
from clipserve.settings import Settings

_MB = 1_000_000
_LIBRARIES = 226 * _MB  # of a process with encoders of its own, the weights not counted
_IN_FRONT_OF_TRITON = 150 * _MB
_DECODER = 33 * _MB
_KEPT_BY_THE_C_LIBRARY = 64 * _MB
_READINGS = 2  # of health and reflection over gRPC, as in `clipserve.rpc.small_calls`, which loads gRPC


def bound(context: Context) -> tuple[int, int]:
    """(when it is ready, at most) in bytes. About: engines differ."""
    settings = context.settings
    weights, models, inside = 0, 0, False
    for folder, manifest, own in context.models():
        models += 1
        if own.backend != "triton":
            inside = True
            weights += sum(
                (folder / name).stat().st_size for name in manifest.files if (folder / name).exists()
            )
    ready = (_LIBRARIES if inside else _IN_FRONT_OF_TRITON) + weights
    return ready, ready + sum(rows(settings, max(1, models)).values())


def rows(settings: Settings, models: int = 1) -> dict[str, int]:
    """The other rows of the table, in bytes."""
    decoders = settings.decode_threads or usable_cores()
    return {
        "bodies": settings.max_in_flight_bytes,
        "grpc messages": settings.grpc_enabled
        * (
            settings.max_in_flight_bytes
            + (MAX_BULK_REQUESTS + _READINGS) * settings.max_body_bytes
            + MAX_CALLS * 65_536
        ),
        "grpc metadata": settings.grpc_enabled * MAX_CALLS * (65_536 + ConnectionLimits.max_header_bytes),
        "parsing": 10 * settings.max_body_bytes,
        "connections": settings.max_connections * 3 * ConnectionLimits.max_header_bytes,
        "caches": models * (settings.label_cache_bytes + settings.image_cache_bytes),
        "images": settings.decode_memory_bytes,
        "decoders": settings.decode_processes * decoders * _DECODER,
        "the C library": _KEPT_BY_THE_C_LIBRARY,
    }
