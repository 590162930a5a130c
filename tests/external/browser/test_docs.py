"""/docs in a real browser that can reach no other host."""

from __future__ import annotations

import pytest
from playwright.sync_api import FilePayload, expect

from tests.external.browser.visit import Visit, in_a_browser
from tests.support.process import get
from tests.support.service import png

pytestmark = in_a_browser


def test_every_operation_is_shown_and_no_other_host_is_asked(visit: Visit, url: str) -> None:
    visit.page.goto(f"{url}/docs")
    paths = visit.page.locator(".opblock-summary-path")
    described = get(f"{url}/openapi.json").json()["paths"]
    served = [path for path, operations in described.items() for _ in operations]
    assert {"/classify", "/embed", "/v1/embeddings"} <= set(served)
    expect(paths).to_have_text(served)
    body = visit.page.locator(".opblock-body")
    for summary in visit.page.locator(".opblock-summary-control").all()[
        ::6
    ]:  # to open one takes a second of CPU
        summary.evaluate("each => each.click()")
        expect(body).to_have_count(1)
        summary.evaluate("each => each.click()")  # what is open makes the next one slower
        expect(body).to_have_count(0)
    visit.page.wait_for_load_state("networkidle")
    assert visit.elsewhere(url) == set()
    assert f"{url}/openapi.json" in visit.asked
    assert any(address.endswith("/favicon-32x32.png") for address in visit.asked)
    assert visit.complaints == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data"])
def test_an_example_can_be_sent_as_it_stands(visit: Visit, url: str, kind: str) -> None:
    visit.page.goto(f"{url}/docs#/images%20and%20texts/classify")
    visit.page.locator(".opblock-section-request-body select").first.select_option(kind)
    if kind == "multipart/form-data":
        picture = FilePayload(name="a.png", mimeType="image/png", buffer=png())
        visit.page.locator("input[type=file]").set_input_files(picture)
    visit.page.locator(".btn.execute").click()
    answer = visit.page.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(answer).to_contain_text("cosine")
    assert visit.complaints == []


def test_a_page_that_asks_another_host_is_noticed(visit: Visit, url: str) -> None:
    visit.page.goto(f"{url}/docs")
    with visit.page.expect_console_message(lambda message: "example.com" in message.text):
        visit.page.evaluate("fetch('http://example.com/').catch(() => {})")
    assert any("example.com" in complaint for complaint in visit.complaints)
