"""Checks of what the service listens on."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.commands.doctor.listeners import listener_on
from clipserve.settings import Settings
from clipserve.wiring.listening import CannotListen, listen


def ports(context: Context) -> Iterator[Finding]:
    """Whether each port can be listened on; if not, who has it."""
    settings = context.settings
    wanted = _wanted(settings)
    for port, times in Counter(wanted.values()).items():
        if port and times > 1:
            names = ", ".join(name for name, each in wanted.items() if each == port)
            yield problem(f"{names} are all {port}", "give each a port of its own")
    for name, port in wanted.items():
        try:
            listen(name, settings.host, port).close()
        except CannotListen as error:
            yield _taken(context, name, port, str(error))
        else:
            yield ok(f"{name}={port} is free on {settings.host}" if port else f"{name}=0: any that is free")


def _wanted(settings: Settings) -> dict[str, int]:
    wanted = {"CLIPSERVE_PORT": settings.port}
    if settings.grpc_enabled:
        wanted["CLIPSERVE_GRPC_PORT"] = settings.grpc_port
    if settings.operations_enabled:
        wanted["CLIPSERVE_OPERATIONS_PORT"] = settings.operations_port
    return wanted


def _taken(context: Context, name: str, port: int, error: str) -> Finding:
    said = error.partition(". Choose another")[0].partition(" (while")[0]  # Python repeats the address
    holder = listener_on(port, context.machine.proc)
    if holder is None:
        return problem(
            said, f"choose another, or another CLIPSERVE_HOST; `ss -ltnp` as root tells who has {port}"
        )
    if holder.is_clipserve:
        return warning(
            f"{said}: a clipserve runs here already, {holder}",
            "nothing, if that is the one you mean: examine it with `clipserve doctor --url`. A second one needs "
            "ports of its own",
        )
    return problem(f"{said}: {holder} has it", f"end that process, or set {name} to another port")


def tls(context: Context) -> Iterator[Finding]:
    """The certificates of the gRPC port, and whether the key is theirs."""
    settings = context.settings
    certificates, key = settings.grpc_tls_cert_file, settings.grpc_tls_key_file
    if certificates is None or key is None:
        yield ok("gRPC is not encrypted: CLIPSERVE_GRPC_TLS_CERT_FILE is not set. REST never is")
        return
    try:
        held = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        held.load_cert_chain(certificates, key, password=lambda: "")  # or it would ask on the terminal
        if settings.grpc_tls_client_ca_file:
            held.load_verify_locations(settings.grpc_tls_client_ca_file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        yield problem(
            f"the files of CLIPSERVE_GRPC_TLS_* cannot be used: {reason}",
            "give PEM files: the certificates, their own first, and the key that fits, without a passphrase",
        )
    else:
        yield ok(f"{certificates} and {key} fit together")
