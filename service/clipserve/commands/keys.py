"""`clipserve keys`: add, list and remove keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipserve.access.key_file import KeyFileError, add_key, read_keys, remove_key
from clipserve.commands.opening import Json
from clipserve.commands.printing import say, say_json, say_table

keys = typer.Typer(no_args_is_help=True, help="Add, list and remove keys.")

File = Annotated[
    Path, typer.Option(envvar="CLIPSERVE_KEYS_FILE", help="The file of keys that the service reads.")
]
Name = Annotated[str, typer.Argument(help="Who has the key; log lines of its requests show it.")]
_RATE = " a second, a whole number; 0: no limit. Without it, the service's setting."


@keys.command()
def add(
    name: Name,
    file: File,
    scope: Annotated[
        list[str], typer.Option(help="`use`: all that serves; `manage`: what changes or watches the service.")
    ] = ["use"],  # noqa: B006 - typer makes its own
    rows_per_second: Annotated[int | None, typer.Option(min=0, help=f"Images and texts{_RATE}")] = None,
    bytes_per_second: Annotated[int | None, typer.Option(min=0, help=f"Bytes of bodies{_RATE}")] = None,
    json: Json = False,
) -> None:
    """Create a key and print it, only this once. A running service accepts it within two seconds."""

    def show(key: str) -> None:
        try:
            say_json({"name": name, "scopes": scope, "key": key}) if json else say(key)
        except OSError as error:
            raise KeyFileError(f"the key cannot be shown, so it was not added: {error.strerror}.") from None

    add_key(file, name, scope, show, rows_per_second=rows_per_second, bytes_per_second=bytes_per_second)
    say("Keep it: it is not written down anywhere. Send `Authorization: Bearer KEY`.", err=True)


@keys.command("list")
def show(file: File, json: Json = False) -> None:
    """List names, scopes and dates of creation."""
    known = read_keys(file)
    if json:
        say_json([key.model_dump(mode="json", exclude={"sha256"}) for key in known], indent=2)
        return
    rows = []
    for key in known:
        limits = {"rows/s": key.rows_per_second, "bytes/s": key.bytes_per_second}
        rates = [f"{rate} {unit}" for unit, rate in limits.items() if rate is not None]
        rows.append([key.name, ",".join(key.scopes), str(key.created or "-"), *rates])
    say_table(rows, ["NAME", "SCOPES", "MADE", "RATES"])


@keys.command()
def remove(name: Name, file: File, json: Json = False) -> None:
    """Remove a key. A running service refuses it within two seconds."""
    remove_key(file, name)
    if json:
        say_json({"name": name, "removed": True})
