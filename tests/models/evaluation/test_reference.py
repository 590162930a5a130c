"""A service beside the original of its model: the demo's graphs here, PyTorch in tests/external."""

from __future__ import annotations

import io
import itertools
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.prompts import fill
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.agreement import Answers, Asked, beside, first_of, mcnemar, oddities
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.measuring import JOURNAL, VECTORS
from clipserve_models.evaluation.metrics import Floats
from clipserve_models.evaluation.report import Report
from clipserve_models.variants.samples import text_feeds
from clipserve_models.verify import Graph
from tests.models.asking import ask
from tests.models.evaluation.asking import evaluated
from tests.process import Process

PHOTOS = ("cat", "coffee", "rocket")


def photo(name: str, orientation: int | None = None) -> Image.Image:
    image = Image.fromarray(getattr(skimage.data, name)())
    if orientation:
        image.getexif()[0x0112] = orientation
    return image


def write_photos(folder: Path) -> Path:
    """A folder for each class; the coffee lies on its side, and a tag says so."""
    for name in PHOTOS:
        (folder / name).mkdir(parents=True)
        photo(name).save(folder / name / f"{name}.png")
    turned = photo("coffee", 6)
    turned.save(folder / "coffee" / "turned.png", exif=turned.getexif())
    return folder


@pytest.mark.parametrize("pairs", [1, 4, 7, 10])
def test_mcnemar_s_p_is_the_share_of_all_outcomes_that_are_as_uneven(pairs: int) -> None:
    uneven = [abs(2 * sum(sides) - pairs) for sides in itertools.product((0, 1), repeat=pairs)]
    for one in range(pairs + 1):
        as_uneven = sum(each >= abs(2 * one - pairs) for each in uneven)
        assert mcnemar(one, pairs - one) == as_uneven / len(uneven)


def test_mcnemar_s_test_of_many_pairs_is_near_the_normal_distribution() -> None:
    z = (100 - 1) / math.sqrt(10_100)  # with Edwards' correction for continuity
    assert mcnemar(5_000, 5_100) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=1e-4)
    assert mcnemar(10_000, 30_000) == 0  # below the least number


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_what_is_odd_in_a_file_is_said() -> None:
    plain = Image.new("RGB", (100, 80))
    turned = photo("coffee", 6).resize((100, 80))
    turned.getexif()[0x0112] = 6
    palette = plain.convert("P")
    for file, odd in (
        (saved(plain, "JPEG"), "none found"),
        (saved(plain.convert("L"), "PNG"), "none found"),
        (saved(turned, "JPEG", exif=turned.getexif()), "EXIF orientation 6"),
        (saved(plain.convert("RGBA"), "PNG"), "alpha"),
        (saved(plain.convert("LA"), "PNG"), "alpha"),
        (saved(palette, "PNG"), "palette"),
        (saved(palette, "PNG", transparency=0), "palette, a transparent colour"),
        (saved(plain.convert("1"), "PNG"), "1 bit a pixel"),
        (saved(plain.convert("CMYK"), "JPEG"), "CMYK"),
        (saved(Image.new("I;16", (100, 80)), "PNG"), "more than 8 bits a channel"),
        (saved(plain, "WEBP", save_all=True, append_images=[turned]), "several frames"),
        (saved(plain.resize((100, 63)), "PNG"), "100 x 63 pixels"),
        (saved(plain.resize((100, 301)), "PNG"), "100 x 301 pixels"),
        (saved(plain.resize((2_000, 1_001)), "PNG"), "2000 x 1001 pixels"),
        (saved(plain.resize((2_000, 1_000)), "PNG"), "none found"),
        (b"no image", "not readable here"),
    ):
        assert oddities(file) == odd


LABELS = ("cat", "dog")
AXES = np.eye(2, dtype=np.float32)


def test_agreement_is_told_from_the_answers_of_both() -> None:
    own_images = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    images = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    asked = Asked([Item(f"{n}.jpg", b"") for n in range(3)], [[0], [1], [0]], LABELS, LABELS, "m@fp32-1")
    served = Answers(images, np.array([[1, 0], [0.6, 0.8]], np.float32), first_of(images, AXES))
    own = Answers(own_images, AXES, first_of(own_images, AXES))
    told = beside(asked, ["none found", "alpha", "none found"], served, own, AXES)
    assert told == {
        "items": 3,
        "top1": {"service": 0.333333, "open_clip": 0.666667},
        "agreement": 0.666667,
        "image_cosine": {"lowest": 0.96, "mean": 0.986667},
        "text_cosine": {"lowest": 0.8, "text": "dog"},
        "right_alone": {"service": 0, "open_clip": 1},
        "mcnemar_p": 1.0,
        "least_cosine": 0.99999,
        "differing": 1,
        "in_their_files": {"alpha": 1},
        "items_that_differ": [
            {
                "item": "1.jpg",
                "cosine": 0.96,
                "service": "cat",
                "open_clip": "dog",
                "lead": 0.2,
                "in_its_file": "alpha",
            }
        ],
    }
    # int8 may be so far away, but may not say something else; with the same labels it is no difference.
    of_int8 = replace(asked, fingerprint="m@int8-1")
    assert beside(of_int8, ["", "", ""], replace(served, images=own_images), own, AXES)["differing"] == 1
    near = beside(
        of_int8, ["", "", ""], replace(own, images=np.array([[1, 0.2], [0.6, 0.8], [0, 1]], "f")), own, AXES
    )
    assert (near["image_cosine"]["lowest"], near["differing"]) == (0.980581, 0)

    figures = {
        "images": 3,
        "classes": 2,
        "top1": 0.333333,
        "reference": {"of": "ViT-B-32: a|b", **told},
    }
    lines = Report("m", "m@fp32-1", "d", {}, figures).as_markdown().splitlines()
    for line in (
        "## Beside open_clip in PyTorch",
        "ViT-B-32: a|b",
        "| both have the same first | 66.67% |",
        "| cosine of an image's two vectors, lowest | 0.960000 |",
        "| cosine of a text's two vectors, lowest: dog | 0.800000 |",
        "| right in the service alone, in open_clip alone | 0, 1 |",
        "| p of McNemar's exact test: both are right equally often | 1 |",
        "| items that differ: another first, or a cosine below 0.99999 | 1 |",
        "| what is in their files | alpha: 1 |",
        "| 1.jpg | 0.96 | cat | dog | 0.2 | alpha |",
    ):
        assert line in lines, line


@cache
def graph(name: str) -> Graph:
    """Of the demo, loaded once: a template takes a call."""
    return Graph(DEMO / name)


class Original:
    """The demo's own graphs, which do not turn a photo upright: open_clip does not either."""

    about, embed_dim, templates = "the demo's graphs", 384, ["{}"]
    manifest = read_manifest(DEMO)

    async def images(self, files: Iterable[tuple[str, bytes]]) -> Floats:
        limits = ImageLimits(exif_transpose=False)
        pixels = [decode_pixels(content, self.manifest.image, limits) for _, content in files]
        return graph(IMAGE_GRAPH).run({"pixels": np.stack(pixels)})

    async def texts(self, texts: Sequence[str]) -> Floats:
        tokenizer, run = load_tokenizer(DEMO, self.manifest.text), graph(TEXT_GRAPH).run
        return np.concatenate([run(feeds) for feeds in text_feeds(texts, tokenizer, self.manifest.text)])

    async def labels(self, labels: Sequence[str], templates: Sequence[str]) -> Floats:
        means = sum([await self.texts([fill(each, label) for label in labels]) for each in templates])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def test_a_photo_that_the_service_turns_upright_is_what_differs(
    demo_process: Process, tmp_path: Path
) -> None:
    data, out = write_photos(tmp_path / "photos"), tmp_path / "out"
    alone = evaluated(demo_process.url, data, out=out)
    assert "reference" not in alone.figures
    asked = (out / JOURNAL).read_bytes()
    report = evaluated(demo_process.url, data, out=out, reference=Original())
    assert (out / JOURNAL).read_bytes() == asked
    told = report.figures["reference"]
    assert (told["of"], told["items"], told["differing"]) == ("the demo's graphs", 4, 1)
    assert told["in_their_files"] == {"EXIF orientation 6": 1}
    (item,) = told["items_that_differ"]
    assert item["item"] == "coffee/turned.png"
    assert item["cosine"] == told["image_cosine"]["lowest"] < 0.99
    assert told["text_cosine"]["lowest"] > 0.99999
    assert json.loads((out / "report.json").read_text())["figures"]["reference"] == told

    # What was answered is not asked again, and half an answer is.
    vectors = (out / VECTORS).read_bytes()
    (out / VECTORS).write_bytes(vectors[:-5])
    again = evaluated(demo_process.url, data, out=out, reference=Original())
    assert again == report
    assert (out / VECTORS).read_bytes() == vectors
    with_templates = evaluated(demo_process.url, data, reference=Original(), templates=("cifar10",))
    assert with_templates.figures["reference"]["differing"] == 1
    assert with_templates.figures["reference"]["text_cosine"]["text"].startswith("a photo of a ")


def test_captions_are_compared_too(demo_process: Process, tmp_path: Path) -> None:
    data = write_photos(tmp_path)
    rows = "cat/cat.png,a cat\ncat/cat.png,a tabby\nrocket/rocket.png,a rocket\ncoffee/turned.png,a cup\n"
    (data / "captions.csv").write_text(f"path,caption\n{rows}")
    told = evaluated(demo_process.url, data / "captions.csv", reference=Original()).figures["reference"]
    assert (told["items"], told["differing"], told["text_cosine"]["lowest"] > 0.99999) == (3, 1, True)
    assert told["in_their_files"] == {"EXIF orientation 6": 1}


def test_what_cannot_be_compared_is_refused(
    demo_process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, other = write_photos(tmp_path), Original()
    with pytest.raises(ModelsError, match="give --reference or --label-set, not both"):
        evaluated(demo_process.url, data, reference=other, label_set="pets")
    other.embed_dim = 512
    with pytest.raises(ModelsError, match=r"demo@.* has vectors of another length than the demo's graphs\."):
        evaluated(demo_process.url, data, reference=other)
    monkeypatch.setitem(sys.modules, "torch", None)
    words = ["evaluate", str(data), "--url", demo_process.url, "--reference"]
    done = ask(*words, "demo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "torch is not installed: pip install 'clipserve-models[export]'" in done.stderr
    assert "nothing is neither a folder nor a model in " in ask(*words, "nothing").stderr
    alone = ask("evaluate", str(data), "--weights", str(next(data.rglob("*.png"))))
    assert "--weights are those of --reference, which is missing" in " ".join(alone.stderr.split())
