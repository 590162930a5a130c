"""Checks of a server that runs: what it says of itself on its own ports."""

from __future__ import annotations

import functools
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from clipserve import __version__
from clipserve.client.errors import ClipserveError, OddAnswer, Refused
from clipserve.client.http import Answer, said
from clipserve.client.server import Server
from clipserve.client.shapes import ModelsShape, OpenApiShape, StatusShape
from clipserve.commands.doctor.clock import skew_of_date
from clipserve.commands.doctor.findings import Finding, ok, problem, warning

_DAYS = 14  # that a certificate should still be valid for
_DAY = 86_400


@dataclass(frozen=True)
class Remote:
    """What checks of a server know.

    Attributes:
        operations: its operations port, where somebody has said where it is.
        withheld: there is a key, and it is not sent: it could be read on the way.
    """

    server: Server
    operations: Server | None = None
    withheld: bool = False


def _answered(check: Callable[[Remote], Iterator[Finding]]) -> Callable[[Remote], Iterator[Finding]]:
    """The check; a line where there is no answer."""

    @functools.wraps(check)
    def bounded(remote: Remote) -> Iterator[Finding]:
        try:
            yield from check(remote)
        except ClipserveError as error:
            yield problem(str(error), "see `address`")

    return bounded


def address(remote: Remote) -> Iterator[Finding]:
    """Whether anything answers there, and whether it is a clipserve."""
    try:
        answer = remote.server.ask("GET", "/livez")
    except ClipserveError as error:
        yield problem(
            str(error),
            "is it running, is this its port, is a firewall between? On its machine run `clipserve doctor`. "
            "A certificate of your own: --ca-file",
        )
        return
    seconds = answer.ended - answer.began
    try:
        answer.shaped(StatusShape)
    except OddAnswer:
        yield problem(
            f"{remote.server.shown}/livez answers {answer.status}, and not as a clipserve does",
            "correct the address: the REST port is 8080, unless CLIPSERVE_PORT says otherwise",
        )
    else:
        yield ok(f"{remote.server.shown} answers in {seconds * 1000:.0f} ms")


def tls(remote: Remote) -> Iterator[Finding]:
    """Whether it is encrypted, and for how long its certificate is valid."""
    url = urlsplit(remote.server.url)
    if url.scheme != "https":
        told = "not encrypted"
        if remote.withheld:
            yield problem(
                f"{told}: the key is not sent to it, for it could be read on the way",
                "ask it over https, or on its own machine as http://localhost:8080 (deploy/compose.md)",
            )
        elif remote.server.key:
            yield warning(
                f"{told}: the key travels as it is",
                "put something in front that speaks TLS (deploy/compose.md)",
            )
        else:
            yield ok(told)
        return
    host, port = url.hostname or "", url.port or 443
    try:
        trust = ssl.create_default_context(cafile=remote.server.ca_file)
        with (
            socket.create_connection((host, port), remote.server.seconds) as plain,
            trust.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            certificate, version = encrypted.getpeercert() or {}, encrypted.version()
    except ssl.SSLCertVerificationError as error:
        yield problem(
            f"the certificate of {host}:{port} is not accepted: {error.verify_message}",
            "renew it, or give the certificates to trust with --ca-file",
        )
        return
    except OSError as error:
        yield problem(f"{host}:{port} does not speak TLS: {said(error)}", "correct the address")
        return
    left = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / _DAY
    told = f"{version}, the certificate is valid for {left:.0f} days more"
    yield ok(told) if left > _DAYS else warning(told, "renew it; what renews it may have stopped")


@_answered
def probes(remote: Remote) -> Iterator[Finding]:
    """/livez and /readyz."""
    for path, do in (
        ("/livez", "restart it, and look at its log"),
        (
            "/readyz",
            "its log says what it waits for: a model that is loaded, Triton, or its end after SIGTERM",
        ),
    ):
        yield _probe(remote.server, path, do)


def _probe(server: Server, path: str, do: str) -> Finding:
    answer = server.ask("GET", path)
    if answer.status == HTTPStatus.OK:
        return ok(f"{path} says yes")
    return problem(f"{server.shown}{path} is {answer.status}: {detail_of(answer)}", do)


def detail_of(answer: Answer) -> str:
    """What a probe says that does not say yes."""
    detail = answer.json.get("detail") or answer.json.get("status") if isinstance(answer.json, dict) else None
    return str(detail or "not as a clipserve says it")[:500]


@_answered
def models(remote: Remote) -> Iterator[Finding]:
    """What it serves, with fingerprints."""
    try:
        listed = remote.server.result("GET", "/v1/models").shaped(ModelsShape).data
    except Refused as error:
        keyless = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        yield problem(
            f"GET /v1/models: {error}",
            "give a key that it knows: --key, or CLIPSERVE_KEY" if keyless else "look at its log",
        )
        return
    for model in listed:
        told = f"{model.id}: {model.fingerprint}"
        if model.ready:
            yield ok(told)
        else:
            yield problem(f"{told} is not ready", "its log says why; with Triton look at that too")


@_answered
def version(remote: Remote) -> Iterator[Finding]:
    """Its version, beside this one."""
    theirs = remote.server.result("GET", "/openapi.json").shaped(OpenApiShape).info.version
    if theirs == __version__:
        yield ok(f"clipserve {theirs}, as here")
    else:
        yield warning(
            f"clipserve {theirs} there, {__version__} here",
            "CHANGELOG.md has what is different; use the same for both",
        )


@_answered
def clock(remote: Remote) -> Iterator[Finding]:
    """Its clock, or that of the proxy in front, by the header `Date`."""
    answer = remote.server.ask("GET", "/livez")
    skew = skew_of_date("the server", answer.headers.get("date"), answer.began, answer.ended)
    if skew is None:
        yield ok("not compared: no header Date in the answer")
    else:
        yield skew.finding()
