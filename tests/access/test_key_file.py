"""The file of keys: what it may hold, and how it is written."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from clipserve.access.key_file import KeyFileError, add_key, read_keys, remove_key
from clipserve.access.keys import Keys
from tests.access.support import write_keys

SHA = "0" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def entry(**changes: object) -> str:
    return json.dumps({"name": "a", "sha256": SHA, "scopes": ["use"]} | changes)


def test_an_added_key_is_known_with_its_scopes_and_is_not_in_the_file(path: Path) -> None:
    first = add_key(path, "camera-1", ["use"])
    second = add_key(path, "admin@home", ["use", "manage", "use"])
    known = Keys(read_keys(path))
    for key, name, scopes in ((first, "camera-1", ("use",)), (second, "admin@home", ("use", "manage"))):
        found = known.find(f"Bearer {key}")
        assert found
        assert (found.name, found.scopes) == (name, scopes)
        for scope in found.scopes:
            known.check(f"Bearer {key}", scope)
        assert key not in path.read_text()
        assert key.removeprefix("clip_") not in path.read_text()
    assert path.read_text().startswith("# Keys of clipserve")


def test_a_removed_key_is_not_known_and_all_other_lines_stay_as_they_are(path: Path) -> None:
    write_keys(path, a={}, b={"rows_per_second": 7}, c={})
    before = path.read_text().splitlines()
    before.insert(1, "# of the kitchen")
    path.write_text("\n".join(before))
    remove_key(path, "a")
    assert path.read_text().splitlines() == before[1:]
    assert [key.name for key in read_keys(path)] == ["b", "c"]


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "-a", 'a"b', "a\nb", "é", "a/b", "\x1b[31m", "a:b"])
def test_a_name_is_a_short_plain_word(path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="a name has 1 to 64"):
        add_key(path, name, ["use"])
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("clip_a-key-by-mistake", "line 1: Invalid JSON"),
        ("[]", "line 1: Input should be an object"),
        (entry() + "\n" + entry(sha256="1" * 64), "line 2: the same name"),
        (entry() + "\n" + entry(name="b"), "line 2: the same key"),
        ("# a comment\n\n" + entry(sha256="0" * 63), "line 3: sha256: "),
        (entry(sha256="A" * 64), "line 1: sha256: "),
        (entry(sha256="clip_a-key-by-mistake"), "line 1: sha256: "),
        (entry(scopes=[]), "line 1: scopes: "),
        (entry(scopes=["admin"]), "line 1: scopes.0: "),
        (entry(rows_per_second=-1), "line 1: rows_per_second: "),
        (entry(rows=1), "line 1: rows: "),
        ("\xe9", "not UTF-8"),
        ("#" * 1_000_001, "more than 1,000,000 bytes"),
        (
            "\n".join(entry(name=str(i), sha256=f"{i:064x}") for i in range(1_001)),
            "more than 1,000 keys",
        ),
    ],
)
def test_a_file_that_is_not_one_of_keys_is_refused_with_the_line_number(
    path: Path, content: str, said: str
) -> None:
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(KeyFileError) as refused:
        read_keys(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "mistake" not in str(refused.value), "a key is not repeated"


def test_what_cannot_be_used_is_refused_and_a_pipe_not_waited_for(path: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no such file or directory"):
        add_key(tmp_path / "nowhere" / "keys", "a", ["use"])
    with pytest.raises(KeyFileError, match="no such file"):
        read_keys(path)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_keys(tmp_path)
    os.mkfifo(path)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_keys(path)


def test_a_file_keeps_its_mode_and_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    add_key(path, "a", ["use"])
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    add_key(link, "b", ["use"])
    remove_key(link, "a")
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [key.name for key in read_keys(path)] == ["b"]
    assert sorted(tmp_path.iterdir()) == [path, link], "nothing is left behind"


def names(path: Path) -> set[str]:
    return {key.name for key in read_keys(path)}


def test_changes_at_once_lose_nothing_and_a_removed_key_stays_away(path: Path) -> None:
    every = [f"p{number}" for number in range(4)]
    write_keys(path, keeper={}, **{me: {} for me in every})

    def change(me: str) -> None:
        for number in range(20):
            add_key(path, f"{me}-{number}", ["use"])
        remove_key(path, me)

    with ThreadPoolExecutor(len(every)) as threads:  # the lock is of each opened folder, as between processes
        assert [*threads.map(change, every)] == [None] * len(every)
    assert names(path) == {"keeper"} | {f"{me}-{number}" for me in every for number in range(20)}
    assert [each.name for each in path.parent.iterdir()] == ["keys"]


OWNER, STRANGER = 4242, 4343


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as other users")
@pytest.mark.parametrize(("user", "done"), [(0, True), (OWNER, True), (STRANGER, False)])
def test_a_change_keeps_owner_and_mode_or_is_not_made(user: int, done: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        path = Path(name) / "keys"
        os.chmod(name, 0o777)
        write_keys(path, a={}, b={})
        os.chown(path, OWNER, OWNER)
        path.chmod(0o644)
        os.setegid(user)
        os.seteuid(user)
        try:
            with nullcontext() if done else pytest.raises(KeyFileError, match="as the owner or as root"):
                remove_key(path, "a")
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert names(path) == ({"b"} if done else {"a", "b"})
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (OWNER, OWNER, 0o644)
        assert [each.name for each in path.parent.iterdir()] == ["keys"]
