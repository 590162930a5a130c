"""`python -m tests.abuse`: attack a real server, and print what each kind of attack did."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tests.abuse.attack import good
from tests.abuse.attacks.table import ATTACKS
from tests.abuse.bar import Verdict, attacked
from tests.abuse.table import table
from tests.abuse.victim import SIZES, Victim

cli = typer.Typer(add_completion=False)


@cli.command()
def abuse(
    only: Annotated[str, typer.Option(help="a regular expression of kind and name")] = "",
    seconds: Annotated[float, typer.Option(help="how long eight clients repeat each attack; 0: not")] = 2.0,
    quick: Annotated[
        bool, typer.Option(help="without the attacks that take seconds by their nature")
    ] = False,
) -> None:
    """Every attack, once and then by eight clients. The exit status is 1 where one is below the bar."""
    chosen = [each for each in ATTACKS if re.search(only, each.id) and not (quick and each.slow)]
    victims = {keyed: Victim(backend="onnx", keyed=keyed) for keyed in {each.keyed for each in chosen}}
    for victim in victims.values():
        print(f"good requests: {[victim.good_cost(len(good(*size))) for size in SIZES]}", flush=True)
    verdicts: list[Verdict] = []
    for attack in chosen:
        # One file of keys for all: a client takes away the keys of the others.
        verdict = attacked(victims[attack.keyed], attack, 0.0 if attack.keyed else seconds)
        verdicts.append(verdict)
        said = "; ".join(verdict.faults) or "good"
        cost = f"CPU {verdict.cost.cpu:.2f} s, {verdict.cost.memory / 1e6:.0f} MB, {verdict.sent:,} bytes"
        print(f"{attack.id}: {dict(verdict.statuses)} {verdict.seconds:.1f} s, {cost}: {said}", flush=True)
    print(f"\n{table(verdicts)}")
    print(f"\nexit status after SIGTERM: {[victim.close() for victim in victims.values()]}")
    raise SystemExit(any(verdict.faults for verdict in verdicts))


if __name__ == "__main__":
    cli()
