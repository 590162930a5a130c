"""The service as queues: what a site of gateways and encoders does with requests that come at random.

How it works. A simulation in time, from event to event. Requests arrive by a Poisson process, each with one image,
at a gateway chosen at random. There it passes four stations, in this order:

  client    on the gateway's cores, where the generator of the load runs on the same machine; otherwise nothing
  loop      one request at a time: the gateway's own code
  decode    so many images at a time
  encode    calls of the waiting rows, at most `max_batch`, taken whenever an encoder is free; on the gateway's own
            cores, or on devices that all gateways share, each row to the one with the fewest rows

Cores are shared as Linux shares them: a thread gets its part of a core by its weight among those on it. The
encoder has a thread on each core, and these wait for each other: one image that is decoded beside it halves its
speed, though only one core is shared. The weight of a thread that computes is a third of that of the others (nice
5; the kernel's table `sched_prio_to_weight`: 335 of 1024).

A call of n rows takes `call + n * row` seconds: the line that batching follows until a device is full. Service
times vary by `jitter`, factors that were measured, one drawn for each request and for each call.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from loadtests.capacity.stations import Clock, Cores, Encoder, Places, Then

_COMPUTING = 335 / 1024  # the weight of nice 5, of that of nice 0


@dataclass(frozen=True)
class Costs:
    """What one image takes. All in seconds: of one core, and for `call` and `row` of the whole encoder.

    `max_batch`: rows of a call at most. `jitter`: factors around 1.
    """

    client: float
    loop: float
    decode: float
    call: float
    row: float
    max_batch: int = 4
    jitter: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Site:
    """What there is. `devices`: encoders that are not on the cores of the gateways; 0: each gateway has its own."""

    gateways: int = 1
    cores: int = 2
    devices: int = 0


class _Gateway:
    def __init__(self, simulation: _Simulation) -> None:
        self._simulation = simulation
        site = simulation.site
        self._cores = Cores(simulation.clock, site.cores)
        self._loop = Places(1)
        self._decoders = Places(site.cores)
        self._own = [Encoder(simulation.costs.max_batch, self._call)]

    def request(self, then: Then) -> None:
        """One image; `then` when its vector is there."""
        costs, jitter = self._simulation.costs, self._simulation.jitter()
        cores = self._cores

        def client() -> None:
            cores.work(costs.client * jitter, lambda: self._loop.take(loop))

        def loop() -> None:
            cores.work(costs.loop * jitter, looped)

        def looped() -> None:
            self._loop.give_back()
            self._decoders.take(decode)

        def decode() -> None:
            cores.work(costs.decode * jitter, decoded, _COMPUTING)

        def decoded() -> None:
            self._decoders.give_back()
            min(self._simulation.devices or self._own, key=lambda encoder: encoder.rows).submit(then)

        client()

    def _call(self, rows: int, then: Then) -> None:
        seconds = self._simulation.call_seconds(rows)
        self._cores.work(seconds, then, _COMPUTING, wide=True)


class _Simulation:
    def __init__(self, site: Site, costs: Costs, seed: int) -> None:
        self.site, self.costs = site, costs
        self.clock = Clock()
        self.chance = random.Random(seed)
        self.devices = [Encoder(costs.max_batch, self._call_device) for _ in range(site.devices)]
        self.gateways = [_Gateway(self) for _ in range(site.gateways)]

    def jitter(self) -> float:
        return self.chance.choice(self.costs.jitter)

    def call_seconds(self, rows: int) -> float:
        return (self.costs.call + rows * self.costs.row) * self.jitter()

    def _call_device(self, rows: int, then: Then) -> None:
        self.clock.at(self.clock.now + self.call_seconds(rows), then)


def latencies(site: Site, costs: Costs, rate: float, requests: int = 20_000, seed: int = 0) -> list[float]:
    """Seconds that each of so many requests takes, which come at `rate` a second.

    The first tenth is left out: the site was empty when they came.
    """
    simulation = _Simulation(site, costs, seed)
    clock, chance = simulation.clock, simulation.chance
    taken: dict[int, float] = {}

    def arrive(number: int) -> None:
        came = clock.now

        def answered() -> None:
            taken[number] = clock.now - came

        chance.choice(simulation.gateways).request(answered)

    time = 0.0
    for number in range(requests):
        time += chance.expovariate(rate)
        clock.at(time, lambda number=number: arrive(number))  # type: ignore[misc]
    clock.run()
    return [taken[number] for number in range(requests // 10, requests)]
