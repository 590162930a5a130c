"""Measures the generators of the GPU check: what they can send is the most that it can measure."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import GPU_TEXT_BUCKETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.triton.contract import CALL_ROWS, Tower, triton_model
from loadtests.commands import DEMO, Seconds
from loadtests.gpu.inputs import Feeds, count, pixels, texts
from loadtests.gpu.rates import in_processes
from loadtests.gpu.triton import message, send
from loadtests.process import fake_triton
from loadtests.report import table

_LEAST = 10_000  # texts a second


def generator(
    senders: Annotated[int, typer.Option(help="Processes that send.")] = 2, seconds: Seconds = 5.0
) -> None:
    """Rows a second that gpu-check's generators can send, to a fake Triton, and their CPU time a row."""
    manifest = read_manifest(DEMO)
    length, size = min(manifest.text.lengths_of(GPU_TEXT_BUCKETS)), manifest.image.size
    short = texts(CALL_ROWS["text"], length, load_tokenizer(DEMO, manifest.text))
    sent: dict[Tower, tuple[str, Feeds]] = {
        "text": (f"{length} tokens", short),
        "image": (f"{size} x {size}", pixels(CALL_ROWS["image"], size)),
    }
    rows = []
    with fake_triton(DEMO) as triton:
        for tower, (of, feeds) in sent.items():
            call = (triton.url, message(triton_model(manifest, tower), feeds), seconds)
            found = in_processes(send, [call] * senders)
            rate, cores = (sum(each) for each in zip(*found, strict=True))
            rate *= count(feeds)
            rows.append(
                [f"{tower}s of {of}", str(count(feeds)), f"{rate:,.0f}", f"{1e6 * cores / rate:,.1f}"]
            )
    head = ("", "rows in a call", "rows/s", "CPU microseconds a row")
    about = f"{senders} senders on {len(os.sched_getaffinity(0))} cores, which the fake Triton shares"
    typer.echo(f"{table(head, rows)}\n\n{about}; target: >= {_LEAST:,} texts/s.")
