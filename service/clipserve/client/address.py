"""Which addresses a client accepts. A key is sent only over https or to this machine."""

from __future__ import annotations

import ipaddress

import httpx2

from clipserve.client.errors import BadAddress


def check_address(url: str, key: str | None = None) -> dict[str, str]:
    """The `Authorization` header with the key; empty without a key.

    Raises:
        BadAddress: the address or the key is malformed, or the key would be sent unencrypted to another machine.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise BadAddress("the address cannot be read: write http://host:port, or https://") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadAddress("the address must begin with http:// or https://, as http://localhost:8080 does")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise BadAddress(
            "the key has characters that no key has: look at --key, CLIPSERVE_KEY or the argument `key`"
        )
    if key and not keeps_secrets(url):
        raise BadAddress(
            f"the key is not sent to {parsed.host} over http, where it can be read on the way: ask over https, or "
            "without a key"
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def keeps_secrets(url: str) -> bool:
    """Whether a connection to `url` is encrypted, or stays on this machine."""
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii")  # the host that is connected to
        return parsed.scheme == "https" or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (httpx2.InvalidURL, ValueError):
        return False


def shown(url: str) -> str:
    """The address without user, password, query and fragment."""
    try:
        return str(httpx2.URL(url).copy_with(userinfo=b"", query=None, fragment=None)).rstrip("/")
    except (httpx2.InvalidURL, ValueError):
        return "an address that cannot be read"
