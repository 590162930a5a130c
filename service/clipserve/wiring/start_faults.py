"""Why a start may be impossible: each is told in one line, and the process ends with status 1."""

from __future__ import annotations

from clipserve.access.key_file import KeyFileError
from clipserve.clip.artifact import ArtifactError
from clipserve.errors import ClipError
from clipserve.telemetry.tracing import TracingUnavailable
from clipserve.wiring.listening import CannotListen


class CannotShare(Exception):
    """The settings cannot be those of several processes; the message says why, and what to do."""


class WorkerFault(Exception):
    """None of several processes could start; the message is what one of them said."""


START_FAULTS = (
    ArtifactError,
    CannotListen,
    CannotShare,
    ClipError,
    KeyFileError,
    TracingUnavailable,
    WorkerFault,
)
