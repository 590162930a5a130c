"""The command `clipserve`, also `python -m clipserve`. Without a subcommand it serves until a signal."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Annotated, Any

try:
    import typer
except ModuleNotFoundError:
    sys.exit(
        "only the Python client is installed: pip install clipserve, or with an NVIDIA GPU clipserve-gpu"
    )
from typer.core import TyperGroup
from typer.exceptions import TyperException

# NumPy's BLAS computes only small products here: the scores of some labels. A second thread makes them no faster,
# and waits for more in a busy loop of 50 ms that takes a core from an encoder. NumPy reads this when it is first
# imported, after this line; not set by the package, because programs that import it have products of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# One process counts all requests. With this variable, which others may need, the counters would be in files of that
# folder, by the process's number: two containers would count into one file, and a later start would go on with it.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

# structlog would load rich for tracebacks, which the log never has rich render: a tenth of the imports of a start.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]

from clipserve import __version__
from clipserve.commands.classify import classify
from clipserve.commands.doctor.command import doctor
from clipserve.commands.embed import embed
from clipserve.commands.keys import keys
from clipserve.commands.label_sets import label_sets
from clipserve.commands.mcp import mcp
from clipserve.commands.printing import visible
from clipserve.commands.running import START_FAULTS, failing
from clipserve.commands.search import search
from clipserve.settings import BadSettings, as_markdown, read_settings
from clipserve.telemetry import log
from clipserve.telemetry.log import logger
from clipserve.wiring.model_names import with_folders


class _Commands(TyperGroup):
    """Escapes the words of its errors like file names, which they may be."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _visible_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _visible_errors():
            return super().invoke(ctx)


@contextmanager
def _visible_errors() -> Iterator[None]:
    try:
        with failing():
            yield
    except TyperException as error:
        error.message = visible(error.message)
        raise


cli = typer.Typer(
    cls=_Commands,
    pretty_exceptions_enable=False,
    help="Serve CLIP over HTTP and gRPC, or use it here. Settings come from CLIPSERVE_* variables.",
)


_GIVEN_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME_OR_FOLDER", help="What to serve, in place of CLIPSERVE_MODELS; several with commas."
    ),
]

cli.add_typer(keys, name="keys")
cli.command()(classify)
cli.command()(embed)
cli.command()(search)
cli.command()(mcp)
cli.add_typer(label_sets, name="label-sets")
cli.command()(doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"clipserve {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
]


@cli.callback(invoke_without_command=True)
def _without_command(context: typer.Context, model: Model = None, _: Version = False) -> None:
    """Without a command: serve."""
    if context.invoked_subcommand is None:
        serve(model)
    elif model is not None:
        context.fail(
            f"--model stands behind the command: clipserve {context.invoked_subcommand} --model {model}"
        )


@cli.command()
def serve(model: Model = None) -> None:
    """Serve the models until SIGTERM or Ctrl-C, then answer what is in flight and end."""
    log.start()
    try:
        chosen = read_settings() if model is None else read_settings(models=model)
    except BadSettings as error:
        for reason in error.reasons:
            logger.critical("cannot_start", reason=reason)
        raise typer.Exit(2) from None
    log.configure(chosen.log_level)
    from clipserve.wiring.serve import serve as run  # loads modules that other commands do not need

    try:
        status = run(with_folders(chosen))
    except START_FAULTS as error:
        logger.critical("cannot_start", reason=str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(status)


@cli.command()
def settings() -> None:
    """Print all settings with their defaults, as a Markdown table."""
    typer.echo(as_markdown())


@cli.command(context_settings=_GIVEN_ON, add_help_option=False)
def models(context: typer.Context) -> None:
    """Make models and check them: `clipserve models --help`. They need the package clipserve-models."""
    found = entry_points(group="clipserve.commands", name="models")
    if not found:
        typer.echo("clipserve models is a package of its own: pip install clipserve-models", err=True)
        raise typer.Exit(2)
    found["models"].load()(context.args)


def main() -> None:
    """Run the command line."""
    if sys.stdout is None:  # closed: what is written fails, and no other file becomes the descriptor 1
        sys.stdout = io.TextIOWrapper(
            io.FileIO(os.open(os.devnull, os.O_RDONLY), "w"), "utf-8", write_through=True
        )
    try:
        cli(prog_name="clipserve")
    except KeyboardInterrupt:  # before the command has begun
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
