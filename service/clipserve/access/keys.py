"""Keys: 256 random bits each. Only their SHA-256 is kept.

One hash, without salt and without a slow function: these are for passwords, which can be guessed. There is no list
in which 256 random bits stand, and to try them all takes 2^255 hashes on average, fast or slow (NIST SP 800-63B,
5.1.2.2, asks for no more where a secret has 112 bits).

What the time of a refusal can tell: nothing about a key. It is the digest of what came that is compared, with all
known digests and each to its end. Who wanted to use the time of a comparison would have to find keys whose digests
begin alike, and would know no more of the key in the end. No key, a malformed one and a wrong one go the same way;
what their times still tell is what was sent, which the sender knows.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from datetime import date
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clipserve.errors import PermissionDenied, Unauthenticated

Scope = Literal["use", "manage"]

_PREFIX = "clip_"  # so that a key is known for one, by people and by what searches repositories for secrets
_BYTES = 32
_NOTHING = "Bearer " + "-" * 48  # as long as a header with a key


class Key(BaseModel):
    """What is kept of a key. Rates are those of all keys where it has none of its own; 0: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: date | None = None
    rows_per_second: int | None = Field(None, ge=0, le=10**9)
    bytes_per_second: int | None = Field(None, ge=0, le=10**12)


def new_key() -> str:
    """A key that nobody has had before, of 48 characters."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(key: str) -> str:
    """What is kept of it, in hexadecimal."""
    return sha256(key.encode()).hexdigest()


class Keys:
    """All keys that are known now. Every thread may ask."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[Key]) -> None:
        """From now on these, and no others."""
        self._keys = tuple((bytes.fromhex(key.sha256), key) for key in keys)
        self._by_digest = {key.sha256: key for _, key in self._keys}

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, digest: str) -> Key | None:
        """The key with this SHA-256, if it is still known."""
        return self._by_digest.get(digest)

    def find(self, authorization: str | None) -> Key | None:
        """The key in a header or metadata `authorization`: `Bearer KEY`."""
        scheme, _, presented = (authorization or _NOTHING).partition(" ")
        if scheme.lower() != "bearer":
            presented = ""
        digest = sha256(presented.strip().encode(errors="replace")).digest()
        found, equal = None, hmac.compare_digest
        for known, key in self._keys:
            if equal(known, digest):
                found = key
        return found

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Whether it holds a key that is for this.

        Raises:
            Unauthenticated, PermissionDenied: it does not.
        """
        allow(self.find(authorization), scope)


def allow(key: Key | None, scope: str) -> Key:
    """The key, if there is one and it is for this.

    Raises:
        Unauthenticated, PermissionDenied: see there.
    """
    if key is None:
        raise Unauthenticated("there is no key, or none that is known: send `Authorization: Bearer KEY`.")
    if scope not in key.scopes:
        raise PermissionDenied(f"the key is not for this: it lacks the scope `{scope}`.")
    return key
