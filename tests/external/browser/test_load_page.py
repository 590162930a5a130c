"""The page of a load test, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from loadtests.load import Answer, Load
from loadtests.measure import Result
from loadtests.observe import Memory, Observation
from loadtests.report import Report, as_html
from loadtests.scenarios import SCENARIOS
from tests.external.browser.visit import SCHEMES, in_a_browser, visit_in

pytestmark = in_a_browser

# Ten seconds: 100 good answers in 1, 2, ... 100 ms, 20 refusals; one core, then two; 10 MB more each second.
ANSWERS = [Answer(i / 10, i / 10, (i + 1) / 1000, 200, True) for i in range(100)]
ANSWERS += [Answer(i / 2, i / 2, 0.001, 429, False) for i in range(20)]
MEMORY = [Memory(at, 0, at + max(0, at - 5), 100_000_000 + at * 10_000_000) for at in range(11)]
LOAD = Load(10.0, ANSWERS, 0.001)
RESULTS = [
    Result(SCENARIOS["mix"], "open, 12/s", LOAD, Observation(15.0, 200_000_000, MEMORY)),
    Result(SCENARIOS["mix"], "closed, 1 client", Load(1.0, [], 0.0), Observation()),
]
# Of each picture: its title, the numbers beside its lines, how many points each curve has.
DRAWN = """() => [...document.querySelectorAll("figure")].map((figure) => [
  figure.querySelector("figcaption").textContent,
  [...figure.querySelectorAll("text[text-anchor=end]")].map((each) => each.textContent),
  [...figure.querySelectorAll("path[class]")].map((each) => each.getAttribute("d").split(/[ML]/).length - 1),
])"""


def test_the_page_draws_latency_rate_cpu_and_memory(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(as_html(Report("<i>A load test", RESULTS)))
    visit = visit_in(browser)
    page = visit.page
    page.goto(file.as_uri())
    latency, rate, cpu, memory, *nothing = page.evaluate(DRAWN)
    assert latency == ["Latency by percentile, ms", ["0", "25", "50", "75", "100"], [7]]
    assert rate == [
        "Answers a second: good in blue, others in orange",
        ["0", "2.5", "5", "7.5", "10"],
        [10, 10],
    ]
    assert cpu == ["CPU of the service, cores", ["0", "0.5", "1", "1.5", "2"], [10]]
    assert memory == ["Memory of the service, MB", ["0", "50", "100", "150", "200"], [11]]
    assert [picture[2] for picture in nothing] == [[0], [1, 1], [0], [0]], "a run without an answer"
    assert "Statuses: 200: 100, 429: 20." in page.inner_text("#runs")
    assert page.title() == page.inner_text("h1") == "<i>A load test"
    assert "python -m loadtests" in page.inner_text("#facts")
    row = page.inner_text("#figures tr:nth-child(2)").split("\t")
    assert row == ["mix", "open, 12/s", "120", "10", "50", "95", "99", "100", "20", "0", "125", "0", "0"]
    assert (visit.complaints, visit.asked) == ([], [file.as_uri()])
    colours = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
    page.context.close()
