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

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Then = Callable[[], None]
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


class Clock:
    """The time of the simulation, and what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._numbers = itertools.count()

    def at(self, time: float, then: Then) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), then))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            self.now, _, then = heapq.heappop(self._events)
            then()


@dataclass(eq=False)
class _Task:
    left: float  # seconds, with cores of its own
    weight: float  # of each thread
    wide: bool  # a thread on each core
    then: Then
    rate: float = 0.0  # of the speed that it has alone


class Cores:
    """Cores that tasks share, each core among the threads on it."""

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._count = count
        self._tasks: list[_Task] = []
        self._last = 0.0
        self._version = 0

    def work(self, seconds: float, then: Then, weight: float = 1.0, *, wide: bool = False) -> None:
        """`seconds` of a thread, or, if it is `wide`, of a thread on each core; `then` when they are done."""
        if not seconds:
            then()
            return
        self._advance()
        self._tasks.append(_Task(seconds, weight, wide, then))
        self._share()

    def _advance(self) -> None:
        passed, self._last = self._clock.now - self._last, self._clock.now
        for task in self._tasks:
            task.left -= task.rate * passed

    def _share(self) -> None:
        """Put each thread on the core with the least weight. A wide task is as fast as its slowest thread."""
        everywhere = sum(task.weight for task in self._tasks if task.wide)
        weights = [everywhere] * self._count
        narrow = [task for task in self._tasks if not task.wide]
        places = []
        for task in sorted(narrow, key=lambda task: -task.weight):
            core = weights.index(min(weights))
            weights[core] += task.weight
            places.append((task, core))
        for task, core in places:
            task.rate = task.weight / weights[core]
        for task in self._tasks:
            if task.wide:
                task.rate = task.weight / max(weights)
        self._version += 1
        if self._tasks:
            version = self._version
            first = min(task.left / task.rate for task in self._tasks)
            self._clock.at(self._clock.now + max(0.0, first), lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return  # the shares have changed since
        self._advance()
        done = [task for task in self._tasks if task.left <= 1e-12]
        self._tasks = [task for task in self._tasks if task not in done]
        self._share()
        for task in done:
            task.then()


class Places:
    """So many at a time, first come first served."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[Then] = deque()

    def take(self, then: Then) -> None:
        if self._free:
            self._free -= 1
            then()
        else:
            self._waiting.append(then)

    def give_back(self) -> None:
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1


class Encoder:
    """One call at a time, of all rows that wait, at most `max_batch`. `call`: begins one of so many rows."""

    def __init__(self, max_batch: int, call: Callable[[int, Then], None]) -> None:
        self._max_batch = max_batch
        self._call = call
        self._waiting: deque[Then] = deque()
        self._running = 0

    @property
    def rows(self) -> int:
        """That wait or are in a call."""
        return len(self._waiting) + self._running

    def submit(self, then: Then) -> None:
        self._waiting.append(then)
        self._next()

    def _next(self) -> None:
        if self._running or not self._waiting:
            return
        batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
        self._running = len(batch)
        self._call(len(batch), lambda: self._ended(batch))

    def _ended(self, batch: list[Then]) -> None:
        self._running = 0
        for then in batch:
            then()
        self._next()


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
