"""An answer of another shape than clipserve's costs little more memory than its bytes, and one line of an error."""

from __future__ import annotations

import subprocess
import sys

import httpx2
import pytest

from clipserve.client.errors import OddAnswer
from clipserve.client.http import MAX_BYTES, Answer
from clipserve.client.shapes import ClassifiedShape, EmbeddedShape, TokenizedShape
from tests.process import ROOT

# In a process of its own: by so many megabytes its most memory is more than what it held before it read the answer.
# VmHWM is of this process alone; getrusage would count the one that started it too, which may hold a gigabyte.
MEASURED = """
from pathlib import Path
import httpx2
from clipserve.client import http, shapes
from clipserve.client.errors import ClipserveError

def most():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1_024

content = {content}
Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets what making it has taken
answer, before = http.Answer("http://server", {status}, httpx2.Headers(), content), most()
try:
    if answer.status < 300:
        answer.shaped(shapes.ClassifiedShape)
    raise answer.refusal()
except ClipserveError as error:
    print(most() - before, error.detail)
"""
HEAD, END = b'{"fingerprint":"toy@1","results":[{"labels":[', b"]}]}"
ODD_LABEL = b'{"label":1,"score":"a","cosine":"b","logit":"c"},'
# Expressions, because an argument of a command is short.
HOSTILE = {
    "empty objects": (f"{HEAD!r} + b'{{}},' * 10_600_000 + b'{{}}' + {END!r}", 200, "1,000,000 values"),
    "numbers": (f"{HEAD!r} + b'0,' * 15_900_000 + b'0' + {END!r}", 200, "1,000,000 values"),
    "odd labels": (
        f"{HEAD!r} + {ODD_LABEL!r} * 60_000 + {ODD_LABEL[:-1]!r} + {END!r}",
        200,
        "results.0.labels.0.label: Input should be a valid string",
    ),
    "words of a refusal": ("b'ab ' * 10_600_000", 503, "ab ab ab"),
}


@pytest.mark.parametrize(("content", "status", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_not_held_a_second_time(content: str, status: int, said: str) -> None:
    program = MEASURED.format(content=content, status=status)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    megabytes, _, detail = done.stdout.partition(" ")
    assert said in detail
    assert float(megabytes) < 100


def answer(content: bytes) -> Answer:
    return Answer("http://server", 200, httpx2.Headers(), content)


def test_the_longest_classification_is_taken() -> None:
    label = b'{"label":"a photo of some species","score":0.5,"cosine":0.25,"logit":25.0,"id":"7"},'
    content = HEAD + label * 150_000 + label[:-1] + END
    assert len(content) < MAX_BYTES
    assert len(answer(content).shaped(ClassifiedShape).results[0].labels) == 150_001


def test_a_vector_is_not_longer_than_that_of_any_model() -> None:
    content = b'{"fingerprint":"toy@1","results":[{"embedding":"%s"}]}' % (b"A" * 400_000)
    with pytest.raises(OddAnswer, match=r"results\.0\.embedding: String should have at most 349528"):
        answer(content).shaped(EmbeddedShape)


def test_the_error_is_that_of_the_first_item_alone() -> None:
    content = b'{"fingerprint":"toy@1","context_length":77,"results":[{"ids":["a","b"]},{"ids":"c"}]}'
    with pytest.raises(OddAnswer, match=r"results\.0\.ids\.0: Input should be a valid integer"):
        answer(content).shaped(TokenizedShape)
