"""Named scenarios of requests, each a function from a request's number to the request.

The same name and number always give the same request. Images are made once and sent repeatedly, so a server's
cache of image vectors must be off; only texts and labels that must be new are made for each request: 1,000 labels
take about a millisecond, and a server takes seconds for them.

A text that no server has cached is a phrase of five words, such as `lamp horse garden tree cup`: every number has
its own. Each word is one token in the vocabularies of CLIP and BERT.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass

from loadtests import bodies
from loadtests.bodies import Calls

_DECK = 1_000  # requests of the mix in shuffled order, which repeats
_SIZES = ((320, 240), (640, 480), (800, 600), (1024, 768), (1280, 960), (1920, 1080), (4000, 3000))
_SIZE_WEIGHTS = (30, 30, 15, 10, 8, 6, 1)
_BLOCK = 1 << 20  # phrases of a scenario
_WORDS = (
    "apple bag bed bicycle bird boat book bottle bowl box bridge bus car castle cat chair clock crown cup dog doll "
    "door drum engine fish flag flower guitar hat horse house kite knife lamp lock mirror pen pencil phone piano "
    "plane plate ring robot shelf ship shirt shoe sofa spoon table tower toy train tree truck violin watch wheel "
    "window garden river school village"
)
_NOUNS = _WORDS.split()  # 64
_IN_A_PHRASE = 5
PHRASES = len(_NOUNS) ** _IN_A_PHRASE  # 2^30


def phrase(number: int) -> str:
    """Five words for a number below `PHRASES`: its digits, each a word."""
    return " ".join(_NOUNS[number // len(_NOUNS) ** place % len(_NOUNS)] for place in range(_IN_A_PHRASE))


def phrases(first: int, count: int) -> list[str]:
    """The phrases of `count` numbers from `first` on."""
    return [phrase(number) for number in range(first, first + count)]


@dataclass(frozen=True)
class Scenario:
    """A kind of request. `clients`: of the closed loop."""

    name: str
    about: str
    build: Callable[[int], Calls]  # first phrase -> requests
    clients: int = 8

    def calls(self) -> Calls:
        """The requests by number. No two scenarios share phrases."""
        return self.build(list(SCENARIOS).index(self.name) * _BLOCK)


_photo = functools.cache(bodies.photo)


def _embed(width: int, height: int) -> Callable[[int], Calls]:
    return lambda _: bodies.embed(_photo(width, height))


def _embed_form(_: int) -> Calls:
    return bodies.embed_form(_photo(640, 480))


def _embed_json(_: int) -> Calls:
    return bodies.embed_many([_photo(640, 480)])


def _classify_warm(first: int) -> Calls:
    return bodies.classify(_photo(640, 480), phrases(first, 10))


def _classify_new(first: int) -> Calls:
    image = _photo(640, 480)
    return lambda number: bodies.classify(image, phrases(first + 10 * number, 10))


def _classify_1000(first: int) -> Calls:
    image = bodies.json_image(_photo(640, 480))
    return lambda number: bodies.classify_json(image, phrases(first + 1_000 * number, 1_000))


def _text_short(first: int) -> Calls:
    return lambda number: bodies.embed_text(phrase(first + number))


def _mix(first: int) -> Calls:
    chance = random.Random(first)
    sizes = chance.choices(_SIZES, _SIZE_WEIGHTS, k=_DECK * 79 // 100)
    warm = _classify_warm(first)(0)
    deck = [bodies.embed(_photo(*size)) for size in sizes]
    deck += [bodies.broken_image()] * (_DECK // 100) + [warm] * (_DECK // 5)
    chance.shuffle(deck)
    return lambda number: deck[number % _DECK]


_MIX = "79 % embed of images of several sizes, 20 % classify with ten known labels, 1 % broken images"

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("embed-320x240", "one small image", _embed(320, 240)),
        Scenario("embed-640x480", "one image", _embed(640, 480)),
        Scenario("embed-form", "one image in a form", _embed_form),
        Scenario("embed-json", "one image in JSON", _embed_json),
        Scenario("embed-12mp", "one photograph of 12 megapixels", _embed(4000, 3000)),
        Scenario("classify-10-warm", "ten labels, always the same", _classify_warm),
        Scenario("classify-10-new", "ten labels never seen before", _classify_new),
        Scenario("classify-1000", "1,000 new labels", _classify_1000, clients=1),
        Scenario("text-8", "one text of up to 8 tokens, new each time", _text_short),
        Scenario("mix", _MIX, _mix),
    )
}
