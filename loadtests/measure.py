"""One measurement: a scenario, a server, a loop, and all their results."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from loadtests import closed_loop, open_loop
from loadtests.bodies import Calls
from loadtests.load import Load
from loadtests.observe import Observation, observed
from loadtests.process import Server
from loadtests.scenarios import Scenario


@dataclass(frozen=True)
class Result:
    """`loop`: how the requests were sent, in words."""

    scenario: Scenario
    loop: str
    load: Load
    observation: Observation

    @property
    def server_cpu(self) -> float | None:
        """CPU seconds of the server for each request, refused ones included."""
        seconds = self.observation.cpu_seconds
        return None if seconds is None else seconds / max(1, len(self.load.answers))


class Measurement:
    """A scenario at a server, for repeated measurements; sends no request twice if the scenario needs new ones."""

    def __init__(self, server: Server, scenario: Scenario) -> None:
        self._server = server
        self._scenario = scenario
        self._calls: Calls = scenario.calls()
        self._next = 0

    def closed(self, seconds: float, clients: int | None = None) -> Result:
        """Measure a closed loop of `clients`, by default the scenario's number."""
        count = clients or self._scenario.clients
        end = observed(self._server)
        load = closed_loop.run(self._server.url, self._calls, count, seconds, self._next)
        self._next += len(load.answers) + count  # each client has taken one more than it sent
        return self._result(f"closed, {count} client{'s' * (count > 1)}", load, end())

    def open(self, rate: float, seconds: float) -> Result:
        """Measure an open loop of `rate` requests a second."""
        end = observed(self._server)
        load = open_loop.run(self._server.url, self._calls, rate, seconds, self._next)
        self._next += len(load.answers)
        return self._result(f"open, {rate:.3g}/s", load, end())

    def _result(self, loop: str, load: Load, observation: Observation) -> Result:
        name, refused = self._scenario.name, len(load.refusals)
        typer.echo(f"  {name}, {loop}: {load.goodput():.1f} good/s, {refused} refused", err=True)
        return Result(self._scenario, loop, load, observation)
