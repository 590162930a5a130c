"""Changes of the file of keys by real processes: several at once, and by another user than its owner."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipserve.access.key_file import read_keys
from tests.access.support import write_keys
from tests.process import uncovered

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")
OWNER, STRANGER = 4242, 4343

# Imports before it becomes the user, who may not be able to read this checkout.
PROGRAM = """
import os, sys
from pathlib import Path
from clipserve.access.key_file import KeyFileError, add_key, remove_key

path, user, count, me = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
print("ready", flush=True)
sys.stdin.readline()
try:
    for number in range(count):
        add_key(path, f"{me}-{number}", ["use"])
    remove_key(path, me)
except KeyFileError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may write; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def changing(path: Path, *, me: str, user: int = 0, count: int = 0) -> subprocess.Popen[str]:
    """A process of this user that adds keys, and removes the key `me`, once it has got a line."""
    command = [sys.executable, "-c", PROGRAM, str(path), str(user), str(count), me]
    pipe = subprocess.PIPE
    # Another user may not write the coverage of his process into this checkout.
    environment = uncovered() if user else os.environ
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def names(path: Path) -> set[str]:
    return {key.name for key in read_keys(path)}


def test_changes_at_once_lose_nothing_and_a_removed_key_stays_away(folder: Path) -> None:
    path = folder / "keys"
    every = [f"p{number}" for number in range(6)]
    write_keys(path, keeper={}, **{me: {} for me in every})
    processes = [changing(path, me=me, count=20) for me in every]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == [""] * len(every)
    assert names(path) == {"keeper"} | {f"{me}-{number}" for me in every for number in range(20)}
    assert [each.name for each in folder.iterdir()] == ["keys"]


@ROOT
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_root_leaves_owner_group_and_mode_as_they_were(folder: Path, mode: int) -> None:
    path = folder / "keys"
    write_keys(path, a={}, b={})
    os.chown(path, OWNER, OWNER + 1)
    path.chmod(mode)
    assert changing(path, me="a").communicate("\n")[1] == ""
    assert names(path) == {"b"}
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (OWNER, OWNER + 1, mode)


@ROOT
def test_who_cannot_keep_the_owner_changes_nothing_and_is_told_whom_to_be(folder: Path) -> None:
    path = folder / "keys"
    write_keys(path, a={}, b={})
    os.chown(path, OWNER, OWNER)
    path.chmod(0o644)
    said = changing(path, me="a", user=STRANGER).communicate("\n")[1]
    assert f"the file belongs to user {OWNER} and group {OWNER}, and user {STRANGER} cannot" in said
    assert "run this command as the owner or as root" in said
    assert names(path) == {"a", "b"}
    assert path.stat().st_uid == OWNER
    assert [each.name for each in folder.iterdir()] == ["keys"]


@ROOT
def test_the_owner_of_a_file_of_keys_changes_it_without_root(folder: Path) -> None:
    path = folder / "keys"
    write_keys(path, a={}, b={})
    os.chown(path, OWNER, OWNER)
    assert changing(path, me="a", user=OWNER).communicate("\n")[1] == ""
    assert names(path) == {"b"}
