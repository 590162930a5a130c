"""`python -m tests.abuse.fuzz`: fuzz all targets, print the rates, keep what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tests.abuse.fuzz.run import Fuzzed, fuzz, keep
from tests.abuse.fuzz.targets import TARGETS

cli = typer.Typer(add_completion=False)
HEAD = (
    "| target | executions | CPU s | a second | outcomes | findings |\n| --- | --: | --: | --: | --- | --: |"
)


@cli.command()
def main(
    executions: Annotated[int, typer.Option(help="of all targets together")] = 10_000,
    seed: Annotated[int, typer.Option(help="another seed, other cases")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(TARGETS)}")] = None,
    folder: Annotated[Path, typer.Option(help="where findings are kept")] = Path("fuzz-findings"),
) -> None:
    """The exit status is 1 where something was found."""
    names = only or list(TARGETS)
    results = [fuzz(name, seed, executions // len(names)) for name in names]
    print("\n".join([HEAD, *map(_row, results)]))
    for result in results:
        for path in keep(result, seed, folder):
            print(f"found: {path}")
        for kind, numbers in result.findings.items():
            print(f"{result.name}: {kind}: {len(numbers)} times, the first is {numbers[0]}")
    raise SystemExit(any(result.findings for result in results))


def _row(result: Fuzzed) -> str:
    words = ", ".join(f"{word} {count:,}" for word, count in result.words.most_common(6))
    cells = (result.name, f"{result.executions:,}", f"{result.cpu_seconds:.0f}", f"{result.rate:,.0f}", words)
    return f"| {' | '.join(cells)} | {len(result.findings)} |"


if __name__ == "__main__":
    cli()
