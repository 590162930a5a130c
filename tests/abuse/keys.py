"""The file of keys of a victim that asks for keys: one that is good, and one that comes and goes."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from pathlib import Path

from clipserve.access.keys import digest_of

_FOLDER = tempfile.TemporaryDirectory(prefix="clipserve-keys-")
weakref.finalize(_FOLDER, _FOLDER.cleanup)
FILE = Path(_FOLDER.name) / "keys"
GOOD, REVOKED, _OTHER = (f"clip_{name}" for name in ("good", "revoked", "other"))
SECONDS = 2.5  # until a change counts, and a little more


def _write(*named: tuple[str, str]) -> None:
    kept = [
        {"name": name, "sha256": digest_of(key), "scopes": ["use"], "rows_per_second": rows}
        for (name, key), rows in zip(named, (0, 5), strict=False)
    ]
    other = FILE.with_suffix(f".{os.getpid()}.{id(named)}")
    other.write_text("".join(json.dumps(each) + "\n" for each in kept))
    os.replace(other, FILE)


def both() -> None:
    """Both are known."""
    _write(("good", GOOD), ("other", REVOKED))


def removed() -> None:
    """The good one alone is."""
    _write(("good", GOOD))


def replaced() -> None:
    """The other one's name is another key's."""
    _write(("good", GOOD), ("other", _OTHER))
