"""Opens the sockets to listen on, with messages about ports, open files and missing keys."""

from __future__ import annotations

import errno
import resource
import socket

from clipserve.access.hosts import ANY, Hosts, is_loopback
from clipserve.settings import Settings
from clipserve.telemetry.log import logger

_BACKLOG = 2048
OTHER_FILES = 256  # open files besides connections: libraries, artifacts, the operations port, Triton


class CannotListen(Exception):
    """An address or a port cannot be used; the message names the setting."""


def listen(setting: str, host: str, port: int) -> socket.socket:
    """A listening socket. `setting`: the variable or the option that has the port; for 0 the system chooses one.

    Raises:
        CannotListen: the address or the port cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, TypeError, ValueError) as error:  # an invalid name does not always raise OSError
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        reason = reason.partition(" (while")[0]  # Python repeats the address
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        # The doctor looks at the ports of the settings, not at those of options.
        hint = " `clipserve doctor` says who has it." if taken and setting.startswith("CLIPSERVE_") else ""
        raise CannotListen(
            f"{setting}={port}: cannot listen on {host}: {reason}. Choose another, or CLIPSERVE_HOST.{hint}"
        ) from None


def url_of(host: str, listener: socket.socket) -> str:
    """How a client names this listener of `host`, without a path."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def files_needed(settings: Settings) -> int:
    """The most open files of one process with these settings, connections included."""
    apis = 2 if settings.grpc_enabled else 1  # each with its own limit of connections
    return apis * settings.max_connections + OTHER_FILES


def allow_open_files(settings: Settings) -> None:
    """Raise the limit of open files: a shell often allows 1,024, below the system's maximum."""
    needed = files_needed(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    if hard < needed:
        logger.warning("few_open_files", allowed=hard, needed=needed)


def warn_if_open(settings: Settings) -> None:
    """Warn if the service listens beyond loopback without keys."""
    if settings.keys_file is None and not is_loopback(settings.host):
        logger.warning(
            "open_to_all",
            host=settings.host,
            hint="whoever reaches this address may use it: set CLIPSERVE_KEYS_FILE (clipserve keys add NAME), or "
            "put an authenticating proxy in front",
        )


def hosts_of(settings: Settings) -> Hosts:
    """The accepted host names. If only a loopback address keeps others out, a foreign name must not reach it."""
    trusting = settings.keys_file is None and is_loopback(settings.host)
    return Hosts(settings.allowed_hosts) if trusting and "*" not in settings.allowed_hosts else ANY
