"""Named scenarios of requests, each a function from a request's number to the request.

The same name, seed and number always give the same request. Images are made once and sent repeatedly, so a server's
cache of image vectors must be off; only texts and labels that must be new are made for each request: 1,000 labels
take about a millisecond, and a server takes seconds for them.

A text that no server has cached is a phrase of five words, such as `small red wooden chair garden`: every number
has its own. Each word is one token in the vocabularies of CLIP and BERT.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from loadtests import bodies
from loadtests.bodies import Calls, always

_DECK = 1_000  # requests of the mix in shuffled order, which repeats
_SIZES = ((320, 240), (640, 480), (800, 600), (1024, 768), (1280, 960), (1920, 1080), (4000, 3000))
_SIZE_WEIGHTS = (30, 30, 15, 10, 8, 6, 1)
_BLOCK = 1 << 20  # phrases of a scenario
_BLOCKS = 64
_WORDS = (
    "big small tall short wide narrow heavy light old new young ancient clean dirty bright dark round square "
    "flat thin thick soft hard smooth rough hot cold wet dry empty full broken",
    "red green blue yellow orange purple pink brown black white grey gold silver beige cream ivory coral ruby "
    "amber jade olive lime mint navy violet lavender rose peach rust copper bronze pearl",
    "wooden metal plastic glass paper stone cotton leather rubber steel iron clay concrete brick silk wool "
    "linen marble bamboo straw rope canvas velvet crystal carbon ceramic granite diamond lace foam wax sand",
    "chair table lamp clock phone camera guitar piano violin drum bicycle car bus train boat ship plane truck "
    "wheel engine bottle cup bowl plate knife spoon box bag basket book pen pencil key lock door window mirror "
    "bed sofa shelf hat shirt shoe ring watch crown flag kite ball doll toy robot horse dog cat bird fish tree "
    "flower house bridge tower castle apple",
    "garden kitchen street beach forest desert mountain river lake field park market station airport museum "
    "church school hospital office factory farm barn cave island harbor valley village city stadium theater "
    "library bedroom",
)
_LISTS = [words.split() for words in _WORDS]  # sizes, colours, materials, nouns, places
PHRASES = math.prod(map(len, _LISTS))  # 2^26, about 67 million

# Odd, and PHRASES is a power of two: multiplying permutes the numbers.
_SHUFFLE = 40_503_297


def phrase(number: int) -> str:
    """Five words for a number below `PHRASES`; neighbours share few."""
    rest = number * _SHUFFLE % PHRASES
    words = []
    for choices in _LISTS:
        rest, index = divmod(rest, len(choices))
        words.append(choices[index])
    return " ".join(words)


def phrases(first: int, count: int) -> list[str]:
    """The phrases of `count` numbers from `first` on."""
    return [phrase(number) for number in range(first, first + count)]


@dataclass(frozen=True)
class Scenario:
    """A kind of request. `clients`: of the closed loop. Counts and sizes: of one request."""

    name: str
    about: str
    build: Callable[[int], Calls]  # first phrase -> requests
    images: int = 0
    width: int = 0  # pixels; 0: none, or several sizes
    height: int = 0
    labels: int = 0
    clients: int = 8

    def calls(self, seed: int = 0) -> Calls:
        """The requests by number. Another seed, below 6, has other phrases, for repeated runs on one server."""
        block = (seed * len(SCENARIOS) + list(SCENARIOS).index(self.name)) % _BLOCKS
        return self.build(block * _BLOCK)


_photo = functools.cache(bodies.photo)


def _embed(width: int, height: int) -> Callable[[int], Calls]:
    return lambda _: always(bodies.embed(_photo(width, height)))


def _classify_warm(first: int) -> Calls:
    return always(bodies.classify(_photo(640, 480), phrases(first, 10)))


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
_VGA = {"width": 640, "height": 480}

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("embed-320x240", "one small image", _embed(320, 240), 1, 320, 240),
        Scenario("embed-640x480", "one image", _embed(640, 480), 1, **_VGA),
        Scenario("embed-12mp", "one photograph of 12 megapixels", _embed(4000, 3000), 1, 4000, 3000),
        Scenario("classify-10-warm", "ten labels, always the same", _classify_warm, 1, **_VGA, labels=10),
        Scenario("classify-10-new", "ten labels never seen before", _classify_new, 1, **_VGA, labels=10),
        Scenario("classify-1000", "1,000 new labels", _classify_1000, 1, **_VGA, labels=1_000, clients=1),
        Scenario("text-8", "one text of up to 8 tokens, new each time", _text_short),
        Scenario("mix", _MIX, _mix, images=1),
    )
}
