"""Finds CLIPSERVE_* variables that are not settings, such as misspelled ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from clipserve.settings import Settings

_OF_CLIENTS = {"CLIPSERVE_URL", "CLIPSERVE_KEY"}  # of commands that call a server; not settings
_OF_COMPOSE = {"CLIPSERVE_IMAGE"}  # of docker-compose.yml


def unknown_variables(environment: Iterable[str]) -> dict[str, str]:
    """Each variable that would be ignored silently, and what to do about it."""
    known = {f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields}
    found = (name for name in sorted(environment) if name.startswith("CLIPSERVE_"))
    return {name: _hint(name, known) for name in found if name not in known | _OF_CLIENTS | _OF_COMPOSE}


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}`clipserve settings` lists all"
