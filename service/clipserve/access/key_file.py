"""Reads and writes the file of keys: a line of JSON for each, without secrets. The service follows its changes."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from clipserve.access.keys import Key, Keys, Scope, digest_of, new_key
from clipserve.concurrency import ended, kept_running
from clipserve.files import keep_access, read_bounded, replacing
from clipserve.telemetry.log import logger

_MAX_BYTES = 1_000_000
_MAX_KEYS = 1_000
_LOOK_SECONDS = 0.5  # a change counts within two
_HEADER = (
    "# Keys of clipserve, a line of JSON for each: `clipserve keys add NAME` adds one, `keys remove NAME` takes\n"
    '# one away. The keys themselves are not in here. A line may have rates too: "rows_per_second": 100,\n'
    '# "bytes_per_second": 1000000. A service that runs reads this file again within two seconds of a change.\n'
)

# `stat`, because inotify neither follows the symbolic link by which a secret of Kubernetes changes, nor sees
# changes that another machine makes in a network file system.
Signature = tuple[int, ...] | None  # of a file; None: there is none


class KeyFileError(Exception):
    """The file of keys cannot be used; the message says where and why."""


def read_keys(path: Path) -> tuple[Key, ...]:
    """All keys of the file. Raises KeyFileError: it cannot be read, or is malformed."""
    return tuple(key for key in _parsed(path, _lines(path)) if key)


def add_key(
    path: Path, name: str, scopes: Sequence[str], show: Callable[[str], object] = str, **rates: int | None
) -> str:
    """Add a new key of this name and return it; it is stored nowhere else. Creates the file if it is missing.

    `rates`: `rows_per_second` and `bytes_per_second`, see `Key`. `show`: gets the key before it counts.

    Raises:
        KeyFileError: the name is taken; the name, a scope or a rate is invalid; or the file cannot be used.
    """
    key, today = new_key(), datetime.now(UTC).date()
    fields = {"name": name, "sha256": digest_of(key), "scopes": list(dict.fromkeys(scopes)), **rates}
    try:
        entry = Key.model_validate(fields | {"created": today})
    except ValidationError:
        said = (
            "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ @ - and begins with a letter or a digit; "
        )
        said += f"scopes are of {', '.join(get_args(Scope))}; rates are at most 10^9 rows and 10^12 bytes a second."
        raise KeyFileError(said) from None
    with _locked(path):
        lines = _lines(path) if path.exists() else _HEADER.splitlines()
        if any(each and each.name == name for each in _parsed(path, lines)):
            said = f"{path} has a key with the name {name!r}. To rotate it, add one under another name, and "
            raise KeyFileError(said + "remove this one when its clients have the other.")
        lines.append(entry.model_dump_json(exclude_none=True))
        _parsed(path, lines)
        show(key)
        _write(path, lines)
    return key


def remove_key(path: Path, name: str) -> None:
    """Remove the key of this name. Raises KeyFileError: there is none, or the file cannot be used."""
    with _locked(path):
        lines = _lines(path)
        keys = _parsed(path, lines)
        kept = [line for line, key in zip(lines, keys, strict=True) if key is None or key.name != name]
        if len(kept) == len(lines):
            raise KeyFileError(f"there is no key with the name {name!r}. `clipserve keys list` shows all.")
        _write(path, kept)


@asynccontextmanager
async def following(
    path: Path, when_removed: Callable[[str], object] = lambda _: None
) -> AsyncIterator[Keys]:
    """The keys of the file, updated in the block whenever the file changes. `when_removed`: see `Keys`.

    If the file becomes unusable later, that is logged, and the keys stay as they were.

    Raises:
        KeyFileError: the file cannot be used at the start.
    """
    seen = _signature(path)
    keys = Keys(read_keys(path), when_removed)
    logger.info("keys", count=len(keys))
    task = kept_running("keys", partial(_follow, path, keys, seen))
    try:
        yield keys
    finally:
        await ended([task])


def _lines(path: Path) -> list[str]:
    with _told(path):
        return read_bounded(path, _MAX_BYTES).decode().splitlines()


def _parsed(path: Path, lines: Iterable[str]) -> list[Key | None]:
    """The key of each line; None for a line without a key."""
    keys: list[Key | None] = []
    known = set[tuple[str, str]]()
    for number, line in enumerate(lines, 1):
        keys.append(key := _key(path, number, line))
        own = {("name", key.name), ("key", key.sha256)} if key else set()
        for what, _ in known & own:
            raise KeyFileError(f"{path}, line {number}: the same {what} as in a line above.")
        known |= own
    if len(known) > 2 * _MAX_KEYS:
        raise KeyFileError(f"{path}: more than {_MAX_KEYS:,} keys.")
    return keys


def _key(path: Path, number: int, line: str) -> Key | None:
    if not line.strip() or line.lstrip().startswith("#"):
        return None
    try:
        return Key.model_validate_json(line)
    except ValidationError as error:
        # Without the line's text, which may be a key by mistake.
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        said = f"{where}: {fault['msg']}" if where else fault["msg"].partition(" at line ")[0]
        raise KeyFileError(f"{path}, line {number}: {said}.") from None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system says is an error of the file."""
    try:
        yield
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: not UTF-8.") from None
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or 'cannot be used').lower()}.") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file in the block: each writes what it has read, and its change."""
    with _told(path):
        # Of the folder, because the file is replaced. Path.resolve raises a RuntimeError at a link to itself.
        folder = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Replace the file atomically. Who could read and write it still can, and nobody else."""
    path = Path(os.path.realpath(path))
    with _told(path), replacing(path) as file:
        file.writelines(f"{line}\n".encode() for line in lines)
        try:
            keep_access(file.fileno(), path)
        except PermissionError as error:
            said = f"{path}: {error.strerror}. Nothing was changed; run this command as the owner or as root."
            raise KeyFileError(said) from None


async def _follow(path: Path, keys: Keys, seen: Signature) -> None:
    """A change counts when two looks on end see the same: an editor empties a file before it writes it.

    What cannot be used is tried again: too many files may be open, or a network disk away for a moment.
    """
    now, told = seen, ""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        # In a thread: a disk, above all a network disk, may be slow.
        before, now = now, await asyncio.to_thread(_signature, path)
        if now == seen or now != before:
            continue
        try:
            keys.replace(await asyncio.to_thread(read_keys, path))
        except KeyFileError as error:
            if str(error) != told:
                told = str(error)
                logger.error("keys_unchanged", reason=told, hint="the keys stay as they were")
        else:
            told, seen = "", now  # taken before the read: a change during the read is seen the next time
            logger.info("keys", count=len(keys))


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev, status.st_size
