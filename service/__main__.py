"""The commands: `python -m service [serve]` serves until a signal; `settings` prints all settings;
`keys` adds, lists and removes keys; `label-sets` those of a server; `doctor` says what is wrong."""

from __future__ import annotations

import os

import typer

from service.commands.classify import classify
from service.commands.doctor.command import doctor
from service.commands.embed import embed
from service.commands.keys import keys
from service.commands.label_sets import label_sets
from service.commands.reading import BadSettings, read_settings
from service.commands.search import search
from service.settings import Settings, unknown_variables
from service.settings_table import as_markdown
from service.start_faults import START_FAULTS
from service.telemetry import log
from service.telemetry.log import logger

cli = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve CLIP over HTTP and gRPC. Settings come from CLIPSERVE_* variables.",
)


cli.add_typer(keys, name="keys")
cli.command()(classify)
cli.command()(embed)
cli.command()(search)
cli.add_typer(label_sets, name="label-sets")
cli.command()(doctor)


@cli.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Without a command: serve."""
    if context.invoked_subcommand is None:
        serve()


@cli.command()
def serve() -> None:
    """Serve the models until SIGTERM or Ctrl-C, then answer what is in flight and end."""
    log.start()
    try:
        chosen = read_settings()
    except BadSettings as error:
        for reason in error.reasons:
            _cannot_start(reason)
        raise typer.Exit(2) from None
    log.configure(chosen.log_level)
    for name in unknown_variables(os.environ):
        logger.warning("unknown_setting", variable=name, hint="clipserve settings lists all")
    try:
        _run(chosen)
    except START_FAULTS as error:
        _cannot_start(str(error))
        raise typer.Exit(1) from None


@cli.command()
def settings() -> None:
    """Print all settings with their defaults, as a Markdown table."""
    typer.echo(as_markdown())


def _run(chosen: Settings) -> None:
    if chosen.processes > 1:
        from service.processes.supervisor import supervise  # loads none of what serves: it stays small

        supervise(chosen)
    else:
        from service.serve import serve as run

        run(chosen)


def _cannot_start(reason: str) -> None:
    logger.critical("cannot_start", reason=reason)


if __name__ == "__main__":
    cli()
