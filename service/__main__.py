"""`python -m service`: serve until a signal. `python -m service settings`: print every knob."""

from __future__ import annotations

import asyncio
import os
import signal

import typer
import uvicorn
import uvloop
from prometheus_client import start_http_server
from pydantic import ValidationError
from pydantic_settings import SettingsError

from service.bootstrap import build_server, open_service, settle_memory
from service.clip.artifact import ArtifactError
from service.errors import ClipError
from service.settings import Settings, as_markdown, unknown_variables
from service.telemetry import log
from service.telemetry.log import logger

cli = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve CLIP over HTTP. Settings come from CLIPSERVE_* variables.",
)


@cli.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve the models until SIGTERM or Ctrl-C, then answer what is in flight and end."""
    if context.invoked_subcommand is not None:
        return
    try:
        settings = Settings()
        log.configure(settings.log_level)
        for name in unknown_variables(os.environ):
            logger.warning("unknown_setting", variable=name, hint="python -m service settings lists all")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            name = "_".join(["CLIPSERVE", *map(str, fault["loc"])]).upper()
            typer.echo(f"{name}={fault['input']!r}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None
    except SettingsError as error:
        typer.echo(f"a CLIPSERVE_* variable that must be JSON is not: {error}", err=True)
        raise typer.Exit(2) from None
    except (ArtifactError, ClipError) as error:
        typer.echo(f"clipserve cannot start: {error}", err=True)
        raise typer.Exit(1) from None


@cli.command()
def settings() -> None:
    """Print all settings with their defaults, as a Markdown table."""
    typer.echo(as_markdown())


async def _serve(settings: Settings) -> None:
    async with open_service(settings) as service:
        server = build_server(service, settings)
        if settings.metrics_enabled:
            start_http_server(settings.metrics_port, settings.host, service.metrics.registry)
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, _end, server)
        serving = asyncio.create_task(server.serve())
        warming = asyncio.create_task(service.warm_up())
        try:
            await asyncio.wait({serving, warming}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                settle_memory()
                logger.info("ready", url=f"http://{settings.host}:{settings.port}", docs="/docs")
            await serving
        finally:
            warming.cancel()
            server.should_exit = True
            await asyncio.gather(serving, warming, return_exceptions=True)


def _end(server: uvicorn.Server) -> None:
    """The first signal lets requests in flight end; the second does not wait for them."""
    server.force_exit = server.should_exit
    server.should_exit = True


if __name__ == "__main__":
    cli()
