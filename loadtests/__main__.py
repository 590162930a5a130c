"""`python -m loadtests`: measures a service as any client on the network sees it."""

from __future__ import annotations

import typer

from loadtests import bare_loop, commands, compare, versus
from loadtests.gpu.command import gpu_check

cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
cli.command()(bare_loop.limit)
cli.command()(commands.scenario)
cli.command()(commands.overload)
cli.command()(commands.fair)
cli.command()(versus.versus)
cli.command()(compare.compare)
cli.command()(gpu_check)

if __name__ == "__main__":
    cli()
