"""Every vector goes to its own image or text, and impossible vectors go to nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipserve.api.fields import ImageInput
from clipserve.application.encoder import (
    EncodedImage,
    ImageEncoder,
    PixelSum,
    TextEncoder,
    check_embeddings,
)
from clipserve.clip.artifact import read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds, Vector
from clipserve.errors import (
    BackendFailed,
    BackendUnavailable,
    TextTooLong,
    TooMany,
    UndecodableImage,
)
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from loadtests.fake_backend import FakeBackend
from tests.clip.test_images import encoded
from tests.conftest import Beside
from tests.support.service import DIM, SIZE, Recording, decoders, png, write_toy_artifact
from tests.support.virtual_time import virtual_time

UNREAD = UndecodableImage("base64", index=7)


class Waiting(ImageEncoder):
    """Answers no image before all have been asked, and the last asked first; `b"bad"` fails."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._asked = 0
        self._all = asyncio.Event()

    async def encode(self, image: bytes) -> EncodedImage:
        self._asked += 1
        place = self._asked
        if place == self._expected:
            self._all.set()
        await self._all.wait()
        await asyncio.sleep(0.002 * (self._expected - place))
        if image == b"bad":
            raise UndecodableImage("bad")
        return EncodedImage(np.full(4, len(image), np.float32), 100)


@virtual_time
async def test_images_are_encoded_side_by_side_and_answered_in_order() -> None:
    results = await Waiting(3).encode_all([b"a", b"bb", b"ccc"], PixelSum(3, 300))
    assert [result[0] for result in results if isinstance(result, np.ndarray)] == [1, 2, 3]


async def test_an_image_s_error_is_a_result_with_the_image_s_place() -> None:
    results = await Waiting(4).encode_all([b"a", b"bad", b"ccc", b"bad"], PixelSum(4, 200))
    assert [isinstance(result, np.ndarray) for result in results] == [True, False, True, False]
    errors = [result for result in results if isinstance(result, UndecodableImage)]
    assert [(error.detail, error.index) for error in errors] == [("bad", 1), ("bad", 3)]


async def test_an_image_that_could_not_be_read_is_not_encoded() -> None:
    first, second = await Waiting(1).encode_all([UNREAD, b"bb"], PixelSum(2, 100))
    assert (first, UNREAD.index) == (UNREAD, 7)
    assert np.array_equal(np.asarray(second), [2] * 4)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_the_pixels_of_several_images_are_bounded_together_and_not_those_of_one(count: int) -> None:
    images: list[ImageInput] = [b"bad", *[b"a"] * count] if count > 1 else [b"a"]
    assert len(await Waiting(len(images)).encode_all(images, PixelSum(len(images), 100 * count)))
    less = PixelSum(len(images), 100 * count - 1)
    if count == 1:
        await Waiting(1).encode_all(images, less)
        return
    with pytest.raises(TooMany) as caught:
        await Waiting(len(images)).encode_all(images, less)
    assert (caught.value.limit, caught.value.actual) == (100 * count - 1, 100 * count)
    assert caught.value.detail == (
        f"the request has {100 * count} pixels in its {count + 1} images; the limit is {100 * count - 1}."
    )


async def test_a_fault_of_ours_is_nobody_s_result() -> None:
    class Broken(Waiting):
        async def encode(self, image: bytes) -> EncodedImage:
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        await Broken(1).encode_all([b"a"], PixelSum(1, 1))


async def images_on(
    backend: FakeBackend,
    folder: Path,
    limits: ImageLimits = ImageLimits(max_pixels=2_000),  # noqa: B008
) -> ImageEncoder:
    manifest = read_manifest(await write_toy_artifact(folder))
    await backend.start()
    metrics = Metrics()
    return ImageEncoder(manifest, backend, decoders(metrics), limits, metrics)


async def encoded_alone(encoder: ImageEncoder, image: bytes) -> Vector:
    """The vector of one image, or its error raised."""
    return (await encoder.encode(image)).vector


async def test_an_image_is_decoded_in_a_thread_and_its_stages_are_timed(tmp_path: Path) -> None:
    backend = FakeBackend(DIM)
    encoder = await images_on(backend, tmp_path)
    request = RequestContext("one")
    enter(request)
    vector = await encoded_alone(encoder, png(1))
    enter(None)
    pixels = decode_pixels(png(1), ImageSpec(size=SIZE), ImageLimits())
    assert vector.shape == (DIM,)
    assert np.array_equal(vector, (await backend.encode_image(pixels[np.newaxis]))[0])
    assert set(request.stages) == {"decode", "encode_image"}


async def test_an_image_is_decoded_as_the_options_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(Image.effect_noise((60, 40), 64), exif=exif)
    backend, limits, spec = FakeBackend(DIM), ImageLimits(exif_transpose=False), ImageSpec(size=SIZE)
    encoder = await images_on(backend, tmp_path, limits)
    pixels = decode_pixels(photo, spec, limits)
    assert not np.array_equal(pixels, decode_pixels(photo, spec, ImageLimits()))
    expected = (await backend.encode_image(pixels[np.newaxis]))[0]
    assert np.array_equal(await encoded_alone(encoder, photo), expected)


class Strange(FakeBackend):
    """Gives vectors of half the numbers, or none."""

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return (await super().encode_image(pixels))[:, : DIM // 2]

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return (await super().encode_text(token_ids, lengths))[:-1]


async def test_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match=r"\(1, 8\), not \(1, 16\)"):
        await encoded_alone(await images_on(Strange(DIM), tmp_path), png(1))
    with pytest.raises(BackendFailed, match=r"\(1, 16\), not \(2, 16\)"):
        await (await texts_on(Strange(DIM), tmp_path)).encode(["a", "b"])


async def texts_on(backend: FakeBackend, folder: Path) -> TextEncoder:
    manifest = read_manifest(await write_toy_artifact(folder))
    await backend.start()
    tokenizer = load_tokenizer(folder, manifest.text)
    return TextEncoder(manifest, tokenizer, backend, Metrics())


async def test_texts_are_grouped_by_padded_length_and_answered_in_order(tmp_path: Path) -> None:
    backend = Recording()
    encoder = await texts_on(backend, tmp_path)
    # Two special tokens each: 8 tokens, 12, 3, 9, 10 and 11 of the padded lengths 8, 10 and 12.
    texts = ["123456", "1234567890", "1", "1234567", "12345678", "123456789"]
    together = await encoder.encode(texts)
    assert sorted(backend.texts) == [(2, 8), (2, 10), (2, 12)]
    for text, among_others in zip(texts, together, strict=True):
        (alone,) = await encoder.encode([text])
        assert np.array_equal(among_others.vector, alone.vector)
        assert among_others.vector.shape == (DIM,)
        assert (among_others.tokens, among_others.truncated) == (len(text) + 2, False)
    assert len({encoded.vector.tobytes() for encoded in together}) == 6


async def test_no_texts_are_no_call(tmp_path: Path) -> None:
    backend = Recording()
    assert await (await texts_on(backend, tmp_path)).encode([]) == []
    assert backend.texts == []


async def test_a_text_beyond_the_context_is_an_error_unless_it_may_be_truncated(tmp_path: Path) -> None:
    backend = Recording()
    encoder = await texts_on(backend, tmp_path)
    with pytest.raises(TextTooLong) as caught:
        await encoder.encode(["1234567890", "12345678901"])
    assert (caught.value.index, caught.value.limit, caught.value.actual) == (1, 12, 13)
    assert backend.texts == []
    whole, cut = await encoder.encode(["1234567890", "12345678901"], truncate=True)
    assert (whole.tokens, whole.truncated, cut.tokens, cut.truncated) == (12, False, 13, True)
    assert np.array_equal(whole.vector, cut.vector)


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(("count", "jobs"), [(32, 0), (33, 1)])
async def test_many_texts_are_tokenized_in_a_thread_with_the_same_result(
    beside: Beside, tmp_path: Path, count: int, jobs: int, truncate: bool
) -> None:
    encoder = await texts_on(FakeBackend(DIM), tmp_path)
    texts = [str(n) * (n % 5 + 1) for n in range(count)]
    texts[3] = "12345678901" if truncate else texts[3]
    together = await encoder.encode(texts, truncate=truncate)
    assert beside.jobs == jobs
    alone = [(await encoder.encode([text], truncate=truncate))[0] for text in texts]
    assert beside.jobs == jobs
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.vector, other.vector)
        assert (one.tokens, one.truncated) == (other.tokens, other.truncated)
    assert together[3].truncated == truncate


async def test_too_long_a_text_among_many_is_named(tmp_path: Path) -> None:
    encoder = await texts_on(FakeBackend(DIM), tmp_path)
    with pytest.raises(TextTooLong) as caught:
        await encoder.encode(["1"] * 70 + ["12345678901"])  # in the second call of the tokenizer
    assert caught.value.index == 70


async def test_the_stages_of_texts_are_timed(tmp_path: Path) -> None:
    encoder = await texts_on(FakeBackend(DIM), tmp_path)
    request = RequestContext("one")
    enter(request)
    await encoder.encode(["a"])
    enter(None)
    assert set(request.stages) == {"tokenize", "encode_text"}


async def test_what_the_backend_raises_is_raised(tmp_path: Path) -> None:
    backend = FakeBackend(DIM)
    encoder = await texts_on(backend, tmp_path)
    await backend.aclose()
    with pytest.raises(BackendUnavailable):
        await encoder.encode(["a", "123456789"])


@pytest.mark.parametrize("shape", [(1, 16), (3, 16), (2, 15), (16, 2), (32,), (2, 16, 1), (0, 16)])
def test_any_other_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BackendFailed, match=r"not \(2, 16\)"):
        check_embeddings(np.zeros(shape, np.float32), 2, 16)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_enough_to_refuse(value: float) -> None:
    embeddings = np.zeros((2, 16), np.float32)
    embeddings[1, 15] = value
    with pytest.raises(BackendFailed, match="not finite"):
        check_embeddings(embeddings, 2, 16)
