"""The pages in a real browser behind a real nginx, which asks for a password and strips a prefix."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from loadtests.process import free_port, running
from tests.external.browser.page.classify import Classify
from tests.external.browser.visit import Visit, in_a_browser, visit_in
from tests.support.process import PATIENT_WITH_CLIENTS, ROOT, Process, get

pytestmark = [
    in_a_browser,
    pytest.mark.skipif(not shutil.which("nginx"), reason="needs Debian's package nginx-light"),
]

LOGIN = ("ann", "secret")
AROUND = """daemon off; pid nginx.pid; error_log stderr; user root;
events {{}}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    auth_basic clipserve; auth_basic_user_file {folder}/users;
    {location}
  }}
}}"""


@pytest.fixture(scope="module", params=[True, False], ids=["prefix told", "prefix not told"])
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address with the prefix: the location of docs/production.md, with or without the line that tells it."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    service = Process(backend="onnx", trusted_proxies="127.0.0.1", **PATIENT_WITH_CLIENTS)
    service.wait_ready()
    documented = re.search(r"```nginx\n(.+?)```", (ROOT / "docs/production.md").read_text(), re.DOTALL)
    assert documented
    location = documented[1].replace("http://127.0.0.1:8080", service.url)
    if not request.param:
        location = re.sub(".*X-Forwarded-Prefix.*", "", location)
    (folder / "users").write_text("{}:{{PLAIN}}{}\n".format(*LOGIN))
    (folder / "nginx.conf").write_text(AROUND.format(port=port, folder=folder, location=location))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]

    def listens() -> bool:
        with socket.create_connection(("127.0.0.1", port)):
            return True

    with running(command, "nginx", listens):
        yield f"http://127.0.0.1:{port}/clip"
    assert service.stop()[0] == 0


@pytest.fixture
def signed_in(browser: Browser, behind: str) -> Iterator[Visit]:
    visit = visit_in(browser, http_credentials=dict(zip(("username", "password"), LOGIN, strict=True)))
    yield visit
    assert (visit.complaints, visit.elsewhere(behind)) == ([], set())
    visit.page.context.close()


def test_the_page_classifies(signed_in: Visit, behind: str) -> None:
    assert get(f"{behind}/").status_code == 401
    assert next(iter(Classify(signed_in, behind).open().shown())) == "cat"


def test_swagger_sends_an_example_to_the_prefix(signed_in: Visit, behind: str) -> None:
    signed_in.page.goto(f"{behind}/docs#/images%20and%20texts/classify")
    signed_in.page.locator(".btn.execute").click()
    answer = signed_in.page.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(signed_in.page.locator(".request-url")).to_contain_text(f"{behind}/classify")
