"""A PostgreSQL with pgvector, Debian's, for one recipe."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl` in the newest version that has pgvector, if one is installed."""
    for control in sorted(Path("/usr/share/postgresql").glob("*/extension/vector.control"), reverse=True):
        found = Path(f"/usr/lib/postgresql/{control.parts[4]}/bin")
        if (found / "initdb").exists():
            return found
    return None


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """The variables that lead a client to an empty database `photos`, by a socket and no port."""
    if not (found := programs()):
        pytest.skip("PostgreSQL with pgvector is not installed: Debian's package postgresql-17-pgvector")
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL does not run as root
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, because the path of a socket must be

    def run(name: str, *arguments: str | Path) -> None:
        command = [found / name, *arguments]
        subprocess.run(command, cwd=folder, user=user, stdout=subprocess.DEVNULL, check=True)

    data, variables = folder / "data", {"PGHOST": str(folder), "PGUSER": "reader", "PGDATABASE": "photos"}
    try:
        if user:
            shutil.chown(folder, user)
        run("initdb", "-D", data, "-U", "reader", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start")
        try:
            run("createdb", "-h", folder, "-U", "reader", "photos")
            yield variables
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
