"""Finds CLIPSERVE_* variables that are not settings: misspelled ones, and those of removed settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from clipserve.settings import Settings

_OF_CLIENTS = {"CLIPSERVE_URL", "CLIPSERVE_KEY"}  # of commands that call a server; not settings
_OF_COMPOSE = {"CLIPSERVE_IMAGE"}  # of docker-compose.yml
_REPLACED = {
    "MAX_BATCH_TOKENS": "it follows CLIPSERVE_MAX_BATCH_TEXTS",
    "MAX_CONNECTIONS_PER_ADDRESS": "addresses with more connections make room for the others",
    "MAX_JSON_BYTES": "it is a twentieth of CLIPSERVE_MAX_BODY_BYTES, and at least 1,000,000",
    "MAX_LABEL_BYTES": "it follows CLIPSERVE_MAX_LABELS",
    "MAX_PROMPTS_CHARS": "it follows CLIPSERVE_MAX_LABELS",
    "MAX_SCAN_PIXELS": "it follows CLIPSERVE_MAX_PIXELS",
    "METRICS_ENABLED": "the port is always open: take the variable out",
    "METRICS_PORT": "it is CLIPSERVE_OPERATIONS_PORT",
    "OPERATIONS_ENABLED": "the port is always open: take the variable out",
    "PROCESSES": "run replicas behind a proxy (docs/production.md)",
    "SPINNING": "threads spin where CLIPSERVE_THREADS leaves no core to others and there is no CPU quota",
    "TRITON_CALLS": "there are four for each Triton that is known",
}
_FIXED = (
    "DECODE_TIMEOUT_SECONDS", "FIRST_BYTE_TIMEOUT_SECONDS", "GRPC_MAX_CALLS", "HEADER_TIMEOUT_SECONDS",
    "MAX_ASPECT", "MAX_BLOCKED_SECONDS", "MAX_BULK_BYTES", "MAX_BULK_LINES", "MAX_BULK_REQUESTS",
    "MAX_HEADER_BYTES", "MAX_IMAGE_METADATA_BYTES", "MAX_IMAGE_SEGMENTS", "MAX_LABEL_CHARS",
    "MAX_LABEL_SET_EXAMPLES", "MAX_PIXELS_PER_BYTE", "MAX_PROMPT_CHARS", "MAX_REQUEST_LABEL_SETS",
    "MAX_REQUEST_PIXELS", "MAX_SCANS",
    "MAX_SIDE", "MAX_TEMPLATES", "MAX_TEXT_CHARS", "MIN_BODY_BYTES_PER_SECOND", "RATE_WINDOW_SECONDS",
    "WRITE_TIMEOUT_SECONDS",
)  # fmt: skip
GONE = {f"CLIPSERVE_{name}": instead for name, instead in _REPLACED.items()} | {
    f"CLIPSERVE_{name}": "it is a constant now, see docs/settings.md" for name in _FIXED
}


def unknown_variables(environment: Iterable[str]) -> dict[str, str]:
    """Each variable that would be ignored silently, and what to do about it."""
    known = {f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields}
    found = (name for name in sorted(environment) if name.startswith("CLIPSERVE_"))
    return {name: _hint(name, known) for name in found if name not in known | _OF_CLIENTS | _OF_COMPOSE}


def _hint(name: str, known: Iterable[str]) -> str:
    if name in GONE:
        return f"the setting is gone: {GONE[name]}"
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}`clipserve settings` lists all"


def opens_a_port(environment: Mapping[str, str]) -> str | None:
    """The reason not to start, if a removed variable asks for a closed port, else None."""
    name = "CLIPSERVE_OPERATIONS_ENABLED"
    if environment.get(name, "").strip().lower() not in {"0", "f", "false", "n", "no", "off"}:
        return None
    return (
        f"{name}={environment[name]}: the setting is gone, and the operations port always opens. Take the variable "
        "out, and let a firewall keep others from CLIPSERVE_OPERATIONS_PORT; with CLIPSERVE_METRICS_OPEN=false "
        "/metrics asks for a key."
    )
