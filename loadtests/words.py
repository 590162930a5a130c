"""Makes texts that no server has cached: every number has its own phrase.

A phrase is five words, such as `small red wooden chair garden`. Each word is one token in the vocabularies of
CLIP and BERT, so a phrase has five tokens and the two that mark start and end.
"""

from __future__ import annotations

import math

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
