"""`python -m loadtests.compare ARTIFACT`: compares this service with others, on one machine, with the same weights.

Each contestant has its own environment and process; all take turns in rounds, so that a slower machine slows all of
them. Read the ratios: each is the median of the rounds' ratios.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from loadtests.bare_loop import bare_loops
from loadtests.bodies import photo
from loadtests.observe import Others
from loadtests.peers import report
from loadtests.peers.contestants import PEERS, CannotPrepare, Contestant, clipserve
from loadtests.peers.rounds import CONTESTS, Served, TakeTurn, bare, measure
from loadtests.peers.server import NotRunning, PeerServer
from loadtests.process import free_port
from loadtests.report import tell

cli = typer.Typer(add_completion=False)


@cli.command()
def compare(
    artifact: Annotated[
        Path, typer.Argument(help="An artifact of a ViT, best ViT-B-32 with random weights.")
    ],
    peer: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(PEERS)}; repeated. All.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="NAME=ARTIFACT[,SETTING=VALUE ...], served by clipserve too.")
    ] = None,
    contest: Annotated[
        list[str] | None, typer.Option(help="Of " + ", ".join(c.name for c in CONTESTS))
    ] = None,
    rounds: int = 5,
    seconds: float = 3.0,
    busy: Annotated[int, typer.Option(help="Programs of the same session that compute all the time.")] = 0,
    limit: Annotated[bool, typer.Option(help="Measure the bare engine loop too.")] = True,
    environments: Annotated[Path, typer.Option(help="The peers' virtual environments.")] = Path(".peers"),
    out: Annotated[Path, typer.Option(help="Folder of compare.json, .md and .svg.")] = Path(
        "loadtests/results"
    ),
) -> None:
    """Throughput and latency of clipserve and its peers, interleaved; writes compare.json, .md and .svg."""
    contests = [c for c in CONTESTS if not contest or c.name in contest]
    photos = {size: photo(*size) for size in {(640, 480), *((c.width, c.height) for c in contests)}}
    entries, skipped = _entries(artifact, peer or list(PEERS), variant or [], environments)
    with ExitStack() as stack:
        for _ in range(busy):
            stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        served: list[Served] = []
        for entry in entries:
            try:
                served.append(stack.enter_context(_running(entry, photos, served[0] if served else None)))
            except NotRunning as error:
                skipped[entry.name] = str(error)
                tell(f"{entry.name} is skipped: {error}")
        participants: dict[str, TakeTurn] = {}
        for folder in _artifacts(entries) if limit else ():
            loops = bare_loops(folder, photos[640, 480])
            participants |= {name: bare(loop) for name, loop in loops.items()}
        participants |= {each.contestant.name: each.turn for each in served}
        others = Others()
        results = measure(participants, contests, rounds, seconds, tell)
        if warning := others.warning():
            tell(warning)
        facts = report.facts(artifact, served, skipped, photos)
    report.write(out, facts | {"rounds": rounds, "seconds": seconds, "contests": results})
    typer.echo((out / "compare.md").read_text("utf-8"))


def _entries(
    artifact: Path, peers: list[str], variants: list[str], environments: Path
) -> tuple[list[Contestant], dict[str, str]]:
    """The contestants, clipserve first; and those that cannot be prepared, with the reason."""
    entries, skipped = [clipserve(artifact)], {}
    for variant in variants:
        name, _, rest = variant.partition("=")
        folder, *settings = rest.split(",")
        if not folder or not all("=" in setting for setting in settings):
            raise typer.BadParameter(f"{variant!r} is not NAME=ARTIFACT[,SETTING=VALUE ...]")
        chosen = dict(setting.split("=", 1) for setting in settings)
        entries.append(clipserve(Path(folder), name, least_cosine=-1.0, **chosen))
    for name in peers:
        if name not in PEERS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(PEERS)}")
        tell(f"preparing {name}")
        try:
            entries.append(PEERS[name](artifact, environments))
        except CannotPrepare as error:
            skipped[name] = str(error)
            tell(f"{name} is skipped: {error}")
    return entries, skipped


def _artifacts(entries: list[Contestant]) -> list[Path]:
    """What clipserve serves, each artifact once."""
    folders = (entry.environment.get("CLIPSERVE_MODELS") for entry in entries)
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


@contextmanager
def _running(
    contestant: Contestant, photos: dict[tuple[int, int], bytes], reference: Served | None
) -> Iterator[Served]:
    """The contestant, started, checked against the reference's vectors and paused.

    Raises:
        NotRunning: it does not start, or its vectors differ.
    """
    port = str(free_port())
    tell(f"starting {contestant.name}")
    with tempfile.TemporaryDirectory() as folder:
        server = PeerServer(
            [part.replace("{port}", port) for part in contestant.command],
            {name: value.replace("{port}", port) for name, value in contestant.environment.items()},
            f"http://127.0.0.1:{port}",
            Path(folder) / "log",
        )
        try:
            served = Served(contestant, server, photos)
            _check(served, reference)
            server.pause()
            yield served
        finally:
            server.stop()


def _check(served: Served, reference: Served | None) -> None:
    """Wait for the contestant and compare its vectors: different computations cannot be compared in speed."""
    contestant = served.contestant
    for image in served.photos.values():
        answer = served.server.wait_for_answer(contestant.embed(image))
        served.vectors.append(contestant.vector(answer))
    ours, theirs = (np.array(each.vectors) for each in (served, reference or served))
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    served.cosines = ((ours * theirs).sum(axis=1) / norms).tolist()
    if min(served.cosines) < contestant.least_cosine:
        raise NotRunning(f"its vectors have a cosine of {min(served.cosines):.5f} to clipserve's")


if __name__ == "__main__":
    cli()
