"""The commands that the page offers really run, and say what the page says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format
from playwright.sync_api import Browser, expect

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from tests.external.browser.page.classify import CAT, Classify
from tests.external.browser.page.commands import run
from tests.external.browser.visit import in_a_browser, visit_in
from tests.process import Process

pytestmark = in_a_browser

NASTY = ['it\'s a "cat"; 5% of <it>', "back\\slash $HOME `id`", "@ends {} here"]
NAME = 'my, "cat";1 \'s.jpg'
Everything = tuple[Classify, Path, dict[str, float]]


def command(classify: Classify, kind: str) -> str:
    classify.page.get_by_role("button", name=kind, exact=True).click()
    return classify.page.locator("#classify pre").inner_text()


def test_the_example_as_curl_runs_in_an_empty_folder(classify: Classify, tmp_path: Path) -> None:
    answer = json.loads(run(["bash", "-c", command(classify, "curl")], tmp_path))
    found = {each["label"]: each["score"] for each in answer["results"][0]["labels"]}
    assert found == pytest.approx(classify.shown(), abs=1e-4)


def test_the_example_as_python_runs_in_an_empty_folder(classify: Classify, tmp_path: Path) -> None:
    script = command(classify, "Python")
    printed = run([sys.executable, "-c", script], tmp_path)
    assert re.findall(r"'label': '(\w+)'", printed) == list(classify.shown())


def with_everything(classify: Classify, folder: Path) -> dict[str, float]:
    """Own pictures, labels and options that are hard to quote."""
    for name in (NAME, "second.jpg"):
        (folder / name).write_bytes(CAT)
    classify.page.get_by_text("Templates and scoring").click()
    classify.page.select_option("#templates", "own")
    classify.page.get_by_label("Own templates").fill("a 'photo' of {}\nno {label} & no more")
    classify.page.select_option("#scoring", "sigmoid")
    classify.page.fill("#temperature", "2")
    classify.page.fill("#threshold", "0.01")
    classify.page.fill("#background", "a 'room', $HOME")
    classify.page.fill("#best", "3")
    classify.remove_all_labels()
    classify.type("dog", *NASTY)
    classify.choose((NAME, CAT))
    expect(classify.page.locator("#classify pre")).to_contain_text("my, ")
    expect(classify.page.locator("#classify pre")).to_contain_text("top_k")
    expect(classify.results.locator(".bars li")).to_have_count(3)
    expect(classify.results).to_have_attribute("aria-busy", "false")
    shown = classify.shown()
    classify.choose(("second.jpg", CAT))
    expect(classify.page.locator("#classify pre")).to_contain_text("second.jpg")
    return shown


@pytest.fixture(scope="module")
def everything(browser: Browser, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    """(a page with all that is hard to quote, a folder with its pictures, the scores of one)."""
    folder = tmp_path_factory.mktemp("everything")
    classify = Classify(visit_in(browser), url).open()
    yield classify, folder, with_everything(classify, folder)
    classify.page.context.close()


def test_curl_quotes_whatever_labels_and_names_hold(
    everything: Everything,
) -> None:
    classify, folder, shown = everything
    answer = json.loads(run(["bash", "-c", command(classify, "curl")], folder))
    assert len(answer["results"]) == 2
    for result in answer["results"]:
        found = {each["label"]: each["score"] for each in result["labels"]}
        assert found == pytest.approx(shown, abs=1e-4)


def test_python_quotes_whatever_labels_and_names_hold(
    everything: Everything,
) -> None:
    classify, folder, shown = everything
    printed = run([sys.executable, "-c", command(classify, "Python")], folder)
    assert printed.count(NAME) == printed.count("second.jpg") == 3
    for label in shown:
        assert repr(label) in printed


def test_the_message_for_grpc_is_one_that_the_service_answers(
    service: Process, everything: Everything
) -> None:
    classify, folder, shown = everything
    text = command(classify, "gRPC")
    message, _, call = text.partition(" |\n")
    assert call.strip() == "grpcurl -plaintext -d @ 127.0.0.1:8081 clipserve.v1.Clip/Classify"
    request = json_format.Parse(run(["bash", "-c", message], folder), clip_pb2.ClassifyRequest())
    assert list(request.images) == [CAT, CAT]
    with grpc.insecure_channel(service.rpc_address) as channel:
        answer = clip_pb2_grpc.ClipStub(channel).Classify(request, timeout=60)
    found = {each.label: each.score for each in answer.results[0].labels}
    assert found == pytest.approx(shown, abs=1e-4)


def test_copying_takes_the_command_that_is_shown(classify: Classify, url: str) -> None:
    classify.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    shown = command(classify, "Python")
    classify.page.evaluate("window.setTimeout = () => 0")  # the word stays: a busy machine may look too late
    classify.page.get_by_role("button", name="Copy").click()
    expect(classify.page.get_by_role("button", name="Copied")).to_be_visible()
    assert classify.page.evaluate("navigator.clipboard.readText()") == shown
