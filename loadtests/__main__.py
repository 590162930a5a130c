"""`python -m loadtests`: measures a service as any client on the network sees it."""

from __future__ import annotations

import typer

from loadtests import commands, gathering, limit, replicas, versus
from loadtests.decode import decode
from loadtests.gpu.command import gpu_check
from loadtests.gpu.generator import generator

cli = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
cli.command()(limit.limit)
cli.command()(commands.scenario)
cli.command("all")(commands.all_scenarios)
cli.command()(commands.overload)
cli.command()(commands.fair)
cli.command()(commands.gateway)
cli.command()(decode)
cli.command()(commands.startup)
cli.command()(replicas.replicas)
cli.command()(gathering.gathering)
cli.command()(versus.versus)
cli.command()(gpu_check)
cli.command()(generator)

if __name__ == "__main__":
    cli()
