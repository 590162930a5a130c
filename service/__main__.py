"""The commands: `python -m service [serve]` serves until a signal; `settings` prints all settings;
`keys` adds, lists and removes keys."""

from __future__ import annotations

import os

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from service.commands.keys import keys
from service.settings import ModelSettings, Settings, unknown_variables
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


@cli.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Without a command: serve."""
    if context.invoked_subcommand is None:
        serve()


@cli.command()
def serve() -> None:
    """Serve the models until SIGTERM or Ctrl-C, then answer what is in flight and end."""
    log.start()
    chosen = _read_settings()
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


def _read_settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            setting, *inside = map(str, fault["loc"])
            name = ".".join([f"CLIPSERVE_{setting.upper()}", *inside])
            secret = name.lower().endswith(("token", "redis_url", "otlp_endpoint"))
            given = "..." if secret else repr(fault["input"])[:200]
            _cannot_start(f"{name}={given}: {_said(fault)}")
    except (SettingsError, RecursionError) as error:
        _cannot_start(f"a CLIPSERVE_* variable that must be JSON is not: {error}")
    raise typer.Exit(2)


def _cannot_start(reason: str) -> None:
    logger.critical("cannot_start", reason=reason)


def _said(fault: ErrorDetails) -> str:
    if fault["type"] == "extra_forbidden":
        names = ", ".join(ModelSettings.model_fields)
        return f"not a setting that may differ from model to model. Those are: {names}"
    return fault["msg"].removeprefix("Value error, ")


if __name__ == "__main__":
    cli()
