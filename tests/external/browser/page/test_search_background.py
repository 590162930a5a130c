"""Embedding in the background: folders, a service that is busy, one that has another model now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Response, Route, expect

from loadtests.process import free_port
from tests.external.browser.page.search import Search
from tests.external.browser.visit import Visit, in_a_browser
from tests.process import PATIENT_WITH_CLIENTS, Process, copy_of_demo
from tests.support import png

pytestmark = in_a_browser

SIX = {f"{at}.png": png(at) for at in range(6)}


def other_model(folder: Path) -> Path:
    """The demo model with the same name and another fingerprint: a line more in a file that decides vectors."""
    model = copy_of_demo(folder)
    tokenizer, manifest = model / "tokenizer.json", model / "model.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    said = json.loads(manifest.read_text())
    said["files"]["tokenizer.json"] = sha256(tokenizer.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(said))
    return model


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service with that model answers."""
    model = other_model(tmp_path_factory.mktemp("other"))
    process = Process(models=str(model), backend="onnx", **PATIENT_WITH_CLIENTS)
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them further below, and two files that are none."""
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    (tmp_path / "photos" / "a.png").write_bytes(png(1))
    (tmp_path / "photos" / "2024" / "b.png").write_bytes(png(2))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_bytes(png(3))
    return tmp_path / "photos"


def test_of_a_folder_the_pictures_are_taken(visit: Visit, url: str, folder: Path) -> None:
    search = Search(visit, url).open()
    search.panel.locator("input[webkitdirectory]").set_input_files(folder)
    search.wait_ready(2)
    expect(search.panel.get_by_text("2 files are not pictures and were left out.")).to_be_visible()
    assert set(search.look_for("noise")) == {"a.png", "b.png"}


def test_a_folder_can_be_dropped(visit: Visit, url: str, folder: Path) -> None:
    search = Search(visit, url).open()
    devtools = search.page.context.new_cdp_session(search.page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": event, "x": 300, "y": 210, "data": data})
    search.wait_ready(2)


def test_a_busy_service_is_asked_again_when_it_says(visit: Visit, keyed: tuple[str, dict[str, str]]) -> None:
    search = Search(visit, keyed[0]).open()
    refused: list[int] = []

    def note(answer: Response) -> None:
        if answer.url.endswith("/embed") and answer.status != 200:
            refused.append(answer.status)

    visit.page.on("response", note)
    visit.page.fill("#key", keyed[1]["slow"])
    visit.page.press("#key", "Enter")
    search.choose(SIX | {f"more-{name}": each for name, each in SIX.items()})
    search.wait_ready(12)
    assert set(refused) == {429}
    expect(search.panel.get_by_role("alert")).to_have_count(0)
    assert len(search.look_for("noise")) == 12


def test_vectors_of_another_fingerprint_are_made_anew_and_it_says_so(
    visit: Visit, url: str, other: str
) -> None:
    search = Search(visit, url).open()
    search.choose(SIX)
    search.wait_ready(6)
    before = search.look_for("noise")
    visit.page.route("**/embed", lambda route: route.continue_(url=f"{other}/embed"))
    sent = search.sent("/embed")
    after = search.look_for("some noise")
    expect(search.panel.locator(".notice")).to_contain_text("The model has changed from demo@fp32-")
    search.wait_ready(6)
    after = search.look_for("noise")
    assert search.sent("/embed") - sent == 2 + 2  # two sentences, and six pictures in two requests
    assert after == pytest.approx(before, abs=1e-4)  # only the name of the vectors is another


def test_where_models_take_turns_it_stops_and_says_so(visit: Visit, url: str, other: str) -> None:
    numbers = iter(range(100))

    def either(route: Route) -> None:
        route.continue_(url=f"{other if next(numbers) % 2 else url}/embed")

    visit.page.route("**/embed", either)
    search = Search(visit, url).open()
    search.choose({name: SIX[name] for name in list(SIX)[:4]})  # one request
    search.wait_ready(4)
    visit.page.fill("#sentence", "noise")
    visit.page.press("#sentence", "Enter")
    alert = search.panel.get_by_role("alert")
    expect(alert).to_contain_text("Several models seem to answer at this address")
    visit.page.unroute("**/embed")
    search.panel.get_by_role("button", name="Go on").click()
    assert len(search.found("“noise”")) == 4
    expect(alert).to_have_count(0)


def test_a_service_that_is_gone_is_told_and_asked_again(visit: Visit, url: str) -> None:
    search = Search(visit, url).open()
    gone = f"http://127.0.0.1:{free_port()}/embed"  # nobody listens there
    visit.page.route("**/embed", lambda route: route.continue_(url=gone))
    search.choose(SIX)
    expect(search.panel.get_by_role("alert")).to_contain_text("The service gave no answer")
    visit.page.unroute("**/embed")
    search.panel.get_by_role("button", name="Go on").click()
    search.wait_ready(6)


def test_embedding_can_be_stopped_and_goes_on(visit: Visit, url: str) -> None:
    search = Search(visit, url).open()
    held: list[Route] = []  # or all would be embedded before the button is pressed
    visit.page.route("**/embed", lambda route: held.append(route))
    search.choose({f"{at}.png": png(at) for at in range(24)})
    while len(held) < 2:  # requests at a time
        search.page.wait_for_timeout(20)
    search.panel.get_by_role("button", name="Stop").click()
    expect(search.progress).to_have_text("0 of 24 pictures embedded. Stopped.")
    for route in held:
        route.continue_()
    visit.page.unroute("**/embed")
    expect(search.progress).to_have_text("8 of 24 pictures embedded. Stopped.")  # what was on its way
    search.panel.get_by_role("button", name="Go on").click()
    search.wait_ready(24)
