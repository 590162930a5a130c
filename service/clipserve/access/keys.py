"""Keys of 256 random bits. Only their SHA-256 is stored, by which a presented key is looked up.

One hash, without a salt and without a slow function: those protect passwords, which can be guessed (NIST SP
800-63B, 5.1.2.2, asks for no more if a secret has 112 bits). The time of a look-up tells nothing but of digests.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import date
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clipserve.errors import PermissionDenied, Unauthenticated

Scope = Literal["use", "manage"]

_PREFIX = "clip_"  # so that people and secret scanners recognise a key


class Key(BaseModel):
    """A stored key. Rate None: the rate of all keys; 0: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: date | None = None
    rows_per_second: int | None = Field(None, ge=0, le=10**9)
    bytes_per_second: int | None = Field(None, ge=0, le=10**12)


def new_key() -> str:
    """A new random key of 48 characters."""
    return _PREFIX + secrets.token_urlsafe(32)  # 256 bits


def digest_of(key: str) -> str:
    """The SHA-256 of a key, in hexadecimal."""
    return sha256(key.encode()).hexdigest()


class Keys:
    """The known keys. Thread-safe."""

    def __init__(self, keys: Iterable[Key], when_removed: Callable[[str], object] = lambda _: None) -> None:
        """`when_removed` is called with each name that no key has any more."""
        self._by_digest: dict[str, Key] = {}
        self._when_removed = when_removed
        self.replace(keys)

    def replace(self, keys: Iterable[Key]) -> None:
        """Replace all keys by these."""
        before, self._by_digest = self._by_digest, {key.sha256: key for key in keys}
        for name in {key.name for key in before.values()} - {key.name for key in self._by_digest.values()}:
            self._when_removed(name)

    def __len__(self) -> int:
        return len(self._by_digest)

    def of(self, digest: str) -> Key | None:
        """The key with this SHA-256, if it is known."""
        return self._by_digest.get(digest)

    def find(self, authorization: str | None) -> Key | None:
        """The key in a header or metadata `authorization`: `Bearer KEY`."""
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        return self.of(sha256(presented.strip().encode(errors="replace")).hexdigest())

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Raise Unauthenticated or PermissionDenied unless `authorization` has a known key with the scope."""
        allow(self.find(authorization), scope)


def allow(key: Key | None, scope: str) -> Key:
    """The key. Raises Unauthenticated, PermissionDenied: there is none, or it lacks the scope."""
    if key is None:
        raise Unauthenticated("the key is missing or unknown: send `Authorization: Bearer KEY`.")
    if scope not in key.scopes:
        raise PermissionDenied(f"the key is not for this: it lacks the scope `{scope}`.")
    return key
