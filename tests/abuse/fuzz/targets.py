"""What is fuzzed: for each target its cases, and what is done with one."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve.errors import ClipError
from clipserve.wiring.use_cases import Limits
from tests.abuse.fuzz.answers_target import Answers
from tests.abuse.fuzz.cases import CORPUS, edited, images, texts
from tests.abuse.fuzz.wire_target import Wire
from tests.abuse.fuzz.words import FORM_SEEDS, FORM_WORDS, IMAGE_WORDS, JSON_SEEDS, JSON_WORDS, TEXT_WORDS

_LONGEST_TEXT = 8_192  # characters, the limit of a request
_BUDGET = Limits.decode_memory_bytes
_SPARE_BYTES = 32_000_000  # malloc's


def most_resident() -> int:
    """Most bytes that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Fault(Exception):
    """An outcome that must not be; the message names it."""


class Target(Protocol):
    @property
    def cases(self) -> SearchStrategy[bytes]:
        """Its inputs."""

    def run(self, case: bytes) -> str:
        """The word for what came of it. Raises what must not be raised."""


class Images:
    """`decode_pixels` on files of the formats that are decoded without a setting, or of the others."""

    def __init__(self, folder: str) -> None:
        files = [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())]
        self.cases = images(files, IMAGE_WORDS)
        default = ImageLimits.image_formats
        others = tuple(name for name in (*FORMATS, *OPTIONAL) if name not in default)
        self._limits = ImageLimits(image_formats=default if folder == "images" else others)
        self._spec = ImageSpec(size=32)

    def run(self, case: bytes) -> str:
        try:
            header = read_header(case, self._spec, self._limits)
            if (promised := header.decode_bytes) > _BUDGET:
                return "over the budget"
            before = most_resident()
            shape = decode_pixels(case, self._spec, self._limits).shape
        except ClipError as error:
            return error.code
        if (taken := most_resident() - before) > promised + _SPARE_BYTES:
            raise Fault(f"{taken / 1e6:.0f} MB instead of {promised / 1e6:.0f} MB")
        if shape != (32, 32, 3):
            raise Fault(f"pixels of shape {shape}")
        return "decoded"


class Texts:
    """`Tokenizer.encode` with the demo model's tokenizer behind each kind of cleaning."""

    cases = texts(TEXT_WORDS, _LONGEST_TEXT)

    def __init__(self) -> None:
        import tokenizers

        from clipserve.clip.artifact import TOKENIZER, read_manifest

        spec = read_manifest(DEMO).text
        encoder = tokenizers.Tokenizer.from_file(str(DEMO / TOKENIZER))
        encoder.no_padding()
        encoder.no_truncation()
        kinds: tuple[Any, ...] = ("lower", "canonicalize", "none")
        self._tokenizers = [Tokenizer(spec.model_copy(update={"cleaning": kind}), encoder) for kind in kinds]

    def run(self, case: bytes) -> str:
        written = case.decode("utf-8", "surrogatepass")
        said = set()
        for tokenizer in self._tokenizers:
            try:
                row = tokenizer.encode([written], truncate=True)[0]
            except ClipError as error:
                said.add(error.code)
                continue
            if not 1 <= len(row.ids) <= 77 <= max(77, row.tokens):
                raise Fault(f"{len(row.ids)} ids of {row.tokens} tokens")
            said.add("encoded")
        return "+".join(sorted(said))


class Requests(Answers):
    """Bodies, and a few heads, edited byte by byte. A case: path and Content-Type in a line, then the body."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
        super().__init__()
        pairs = [(head, body) for head, _, body in (seed.partition(b"\n") for seed in seeds)]
        words = (*words, *(body for _, body in pairs))
        heads = {head: edited((head,), words).map(lambda odd: odd.replace(b"\n", b"")) for head, _ in pairs}
        one_in_ten = st.integers(0, 9).map(lambda number: number == 9)
        self.cases = st.tuples(st.sampled_from(pairs), one_in_ten).flatmap(
            lambda chosen: st.tuples(
                heads[chosen[0][0]] if chosen[1] else st.just(chosen[0][0]), edited(chosen[0][1:], words)
            ).map(b"\n".join)
        )

    def run(self, case: bytes) -> str:
        head, _, body = case.partition(b"\n")
        path, _, content_type = head.partition(b" ")
        lines = [b"POST %b HTTP/1.1" % path, b"Host: localhost", b"Connection: close"]
        lines += [b"Content-Type: " + content_type, b"Content-Length: %d" % len(body)]
        return super().run(b"\r\n".join([*lines, b"", body]))


TARGETS: dict[str, Callable[[], Target]] = {
    "images": lambda: Images("images"),
    "formats": lambda: Images("formats"),
    "texts": Texts,
    "json": lambda: Requests(JSON_SEEDS, JSON_WORDS),
    "forms": lambda: Requests(FORM_SEEDS, FORM_WORDS),
    "wire": Wire,
    "answers": Answers,
}
