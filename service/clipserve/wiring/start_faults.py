"""Why a start may be impossible: each is told in one line, and the process ends with status 1."""

from __future__ import annotations

from clipserve.access.key_file import KeyFileError
from clipserve.clip.artifact import ArtifactError
from clipserve.errors import ClipError
from clipserve.telemetry.tracing import TracingUnavailable
from clipserve.wiring.listening import CannotListen

START_FAULTS = (
    ArtifactError,
    CannotListen,
    ClipError,
    KeyFileError,
    TracingUnavailable,
)
