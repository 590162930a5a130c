"""`python -m clipserve.commands.doctor.trial FOLDER`: the self-test of an artifact on its real engine.

A separate program, with the settings of its environment: an engine that crashes, hangs or takes all memory ends
this process, not the doctor. The answer is the last line of standard output.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, ArtifactError, read_manifest
from clipserve.clip.reference import check
from clipserve.clip.reference_inputs import check_inputs
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.commands.doctor.context import context_here
from clipserve.engine.backends.trial import MIN_AGREEMENT
from clipserve.engine.cuda import Accelerator
from clipserve.errors import ClipError
from clipserve.settings import ModelSettings
from clipserve.wiring.backends import open_engine, uses_gpu

_VERDICTS = {True: "is used", False: "is not faster", None: "the trial did not decide"}


def tried(folder: Path, settings: ModelSettings) -> str:
    """The chosen engine, its agreement with the export, and the other engines that were tried, as a sentence.

    Raises:
        ArtifactError: pixels, tokens or vectors differ from the export's.
        Exception: whatever the engine raises.
    """
    manifest = read_manifest(folder)
    tokenizer = load_tokenizer(folder, manifest.text)
    check_inputs(manifest, tokenizer)
    feeds = reference_feeds(manifest, tokenizer)
    on_gpu = uses_gpu(settings, Accelerator())
    with capture_logs() as events:
        to_load = open_engine(folder, manifest, settings, on_gpu=on_gpu)
        began = time.monotonic()
        engine = to_load.load()
    images, texts = (engine.call(graph, feeds[graph]).run() for graph in (IMAGE_GRAPH, TEXT_GRAPH))
    cosine = check(manifest, images, texts, engine.precision)
    return (
        f"{engine.name} on {'CUDA' if on_gpu else 'the CPU'} in {engine.precision or manifest.precision}, by "
        f"CLIPSERVE_BACKEND={settings.backend}{''.join(map(explained, events))}; self-test in "
        f"{time.monotonic() - began:.2f} s, lowest cosine {cosine:.6f}"
    )


def explained(event: Mapping[str, Any]) -> str:
    """The sentence about an event that explains the choice of the engine; empty: it does not."""
    match event["event"]:
        case "engine_tried" if event["cosine"] < MIN_AGREEMENT:
            return (
                f"; {event['engine']} was tried in {event['precision']} and is not used, because its vectors "
                f"differ: cosine {event['cosine']:.6f}, and {MIN_AGREEMENT} is needed"
            )
        case "engine_tried":
            return (
                f"; {event['engine']} was tried in {event['precision']}: cosine {event['cosine']:.6f}, "
                f"{event['cpu_time_ratio']} of onnxruntime's CPU time, and {_VERDICTS[event['wins']]}"
            )
        case "engine_chosen" | "engine_recalled":
            ms = ", ".join(f"{name} {each} ms a call" for name, each in event["trial_ms_per_call"].items())
            return f"; the choice is {event['trial']}{ms and f' ({ms})'}"
        case "engine_passed_over":
            return f"; {event['engine']} was tried and is not used, because it failed: {event['error'][:300]}"
        case "gpu_not_used":
            return f"; {event['gpu']} is not used: {event['reason']}"
    return ""


def main(folder: Path) -> None:
    """Print the sentence, or why there is none and exit with 1. End if the doctor ends."""
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    status = 1
    try:
        settings = context_here().settings.of_model(read_manifest(folder).name)
        answer, status = tried(folder, settings), 0
    except (ArtifactError, ClipError) as error:
        answer = str(error)
    except Exception as error:  # the engines' exceptions have no common base except Exception
        answer = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    sys.stdout.write(answer + "\n")
    sys.exit(status)


def _end_with_the_input() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock would be held at the program's end
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
