"""A server under attack: a process, what good requests cost it, and what it does while it is attacked."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from clipserve.demo import FOLDER as DEMO
from loadtests.bodies import photo
from tests.abuse import hostile_host, keys
from tests.abuse.answers import RpcAnswers, http_answers
from tests.abuse.attack import Attack, Piece, good, request
from tests.abuse.measure import Peak, at_work, cpu_seconds, resident
from tests.abuse.probe import Prober
from tests.abuse.wire import Address, Played, play
from tests.process import Process

SIZES = ((64, 48), (640, 480), (1_600, 1_200), (2_300, 1_725), (4_000, 3_000))  # 2 KB to 2 MB
_KEPT = 60_000_000  # bytes
_LOOKS, _LOOK_SECONDS = 10, 0.005  # until it is at rest
_LEAST_MEMORY = 1_000_000  # of a good request: the pixels of a small photo


@dataclass(frozen=True)
class Cost:
    """`cpu`: seconds. `memory`: bytes at the peak beyond those before."""

    cpu: float
    memory: int


def _cleaning_model(folder: Path) -> Path:
    """The demo model with CLIP's cleaning of texts in front of its tokenizer: most hostile texts aim at that."""
    copy = Path(shutil.copytree(DEMO, folder / "demo", ignore=shutil.ignore_patterns("*.py", "*.md")))
    manifest = json.loads((copy / "model.json").read_text())
    manifest["text"]["cleaning"] = "lower"
    del manifest["reference"]["token_ids"]  # of other tokens: a start compares them
    (copy / "model.json").write_text(json.dumps(manifest))
    return copy


def address_of(process: Process, rpc: bool = False) -> Address:
    """Where it listens for HTTP, or for gRPC."""
    parts = urlsplit(f"//{process.rpc_address}" if rpc else process.url)
    return parts.hostname or "", parts.port or 0


def play_attack(
    process: Process, attack: Attack, pieces: Sequence[Piece], seconds: float, source: str | None = None
) -> Played:
    """Play it at the front that it is for; see `play`."""
    take = RpcAnswers() if attack.rpc else functools.partial(http_answers, bodiless=attack.bodiless)
    return play(address_of(process, attack.rpc), pieces, attack.answers, seconds, source, take)


class Victim:
    """A running service. Costs are of this process, without the prober's share."""

    def __init__(self, *prefix: str, keyed: bool = False, **settings: str | int) -> None:
        """`keyed`: it asks for keys, and good requests have one."""
        self._keyed = keyed
        if keyed:
            keys.both()
            settings["keys_file"] = str(keys.FILE)
        settings["image_formats"] = "JPEG,PNG,WEBP,HEIC"
        settings["image_hosts"] = f"{hostile_host.url()}=127.0.0.0/8,{hostile_host.url(nice=0)}=127.0.0.0/8"
        settings.setdefault("threads", 0)  # as it is shipped
        self._prefix, self._settings = prefix, settings
        self.deaths = 0
        self._folder = tempfile.TemporaryDirectory()
        self._model = _cleaning_model(Path(self._folder.name))
        self._start()
        self._idle_rate = self._measure_idle()
        self._good_costs: dict[int, Cost] = {}

    def _start(self) -> None:
        self.process = Process(*self._prefix, models=str(self._model), **self._settings)
        self.process.wait_ready()
        self.address = address_of(self.process)
        self.prober = Prober(self.address)
        for size in SIZES:
            assert self.send_good(*size).answers[0].status == 200
        self.rest()
        self._resident = resident(self.pid)

    @property
    def pid(self) -> int:
        return self.process.popen.pid

    def send_good(self, width: int = 640, height: int = 480) -> Played:
        wire = good(width, height)
        if self._keyed:
            wire = wire.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer %b\r\n\r\n" % keys.GOOD.encode(), 1)
        return play(self.address, [wire], 1, 60)

    def send_bulk(self) -> Played:
        bulk = request("/embed", b'{"texts": ["a"]}', "application/json", "X-Priority: bulk")
        return play(self.address, [bulk], 1, 60)

    def alive(self) -> bool:
        """Whether it still runs; a dead one is counted, and another started."""
        if self.process.popen.poll() is None:
            return True
        self.deaths += 1
        self.prober.stop()
        self._start()
        return False

    def refresh(self) -> None:
        """Another process, if this one has kept much memory: what it has it need not take for the next attack."""
        if resident(self.pid) - self._resident > _KEPT:
            self.stop()
            self._start()

    def cost(self, act: Callable[[], object]) -> Cost:
        """What it costs to serve this, until the process is at rest again, beside the prober."""
        started = time.monotonic()
        cost = self._cost(act)
        idle = self._idle_rate * (time.monotonic() - started)
        return replace(cost, cpu=max(0.0, cost.cpu - idle))

    def cost_alone(self, act: Callable[[], object]) -> Cost:
        """The same while the prober asks nothing: on a busy machine its share is more than a small request's."""
        with self.prober.silent():
            return self._cost(act)

    def _cost(self, act: Callable[[], object]) -> Cost:
        before = cpu_seconds(self.pid)
        with Peak(self.pid) as peak:
            act()
            self.rest()
        if self.process.popen.poll() is not None:
            return Cost(0.0, 0)
        return Cost(cpu_seconds(self.pid) - before, max(0, peak.bytes - peak.before))

    def rest(self) -> None:
        """Wait until it has nothing to do: work that nobody waits for any more is a cost too."""
        for seconds in self.until_rest():
            time.sleep(seconds)

    def until_rest(self, most_seconds: float = 60) -> Iterator[float]:
        """The seconds to wait before each look at it, until it has nothing to do.

        A process without a core has as much to do as one that computes. The prober's requests are nothing.
        """
        until = time.monotonic() + most_seconds
        looks = deque([True] * _LOOKS, _LOOKS)
        while sum(looks) > _LOOKS * 0.4 and time.monotonic() < until and self.process.popen.poll() is None:
            yield _LOOK_SECONDS
            looks.append(at_work(self.pid))

    @functools.cached_property
    def labels_cost(self) -> Cost:
        """Of a photo and 1,000 labels that are new."""
        labels = "&".join(f"labels=a%20thing%20of%20{n}" for n in range(1_000))
        wire = request(f"/classify?{labels}", photo(640, 480), "image/jpeg")
        return self.cost_alone(lambda: play(self.address, [wire], 1, 60))

    def good_cost(self, sent: int) -> Cost:
        """Of the largest good request of no more than so many bytes, or of the smallest."""
        sizes = {len(good(*size)): size for size in SIZES}
        size = max((size for size in sizes if size <= sent), default=min(sizes))
        if size not in self._good_costs:
            self._good_costs[size] = self._measured(sizes[size])
        return self._good_costs[size]

    def forget_costs(self) -> None:
        """Measure those of good requests again, once somebody asks: the machine may be slower by now."""
        self._good_costs.clear()
        vars(self).pop("labels_cost", None)

    @property
    def photo_cost(self) -> Cost:
        """Of a good photo of 12 megapixels."""
        return self.good_cost(len(good(*SIZES[-1])))

    def stop(self) -> int:
        """The exit status."""
        self.prober.stop()
        return self.process.stop()[0]

    def close(self) -> int:
        """`stop`, for the last time."""
        self._folder.cleanup()
        return self.stop()

    def _measure_idle(self) -> float:
        before = cpu_seconds(self.pid)
        time.sleep(1)
        return cpu_seconds(self.pid) - before

    def _measured(self, size: tuple[int, int]) -> Cost:
        costs = [self.cost_alone(lambda: self.send_good(*size)) for _ in range(5)]
        return Cost(
            sorted(cost.cpu for cost in costs)[2], max(max(cost.memory for cost in costs), _LEAST_MEMORY)
        )
