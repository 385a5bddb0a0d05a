"""The page through the shipped NGINX, in front of the services: a whole visit, and the limits of the door."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from ragline.http.page import POLICY
from tests.servers.nginx import HOST, SERVICES, Nginx
from tests.web.browser import Browser
from tests.web.conftest import choose
from tests.web.door import Door, Fault
from tests.web.uploads import DROP, STATES, ended, state

pytestmark = [pytest.mark.models, pytest.mark.stack]

COLLECTION = "front"
QUESTION = "How often does the bell of Marn ring at noon?"
FACT = "The bell of Marn rings 12 times at noon."
AT_ONCE = 12  # more than a browser sends at once to one address
UNFINISHED = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"


@pytest.fixture(scope="module")
def front(nginx_installed: None, door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """NGINX with small limits; its four services are the all-in-one, whose answers the test can hold up."""
    upstreams = {name: [f"{HOST}:{door.server_port}"] for name in SERVICES}
    folder = tmp_path_factory.mktemp("front")
    with Nginx(folder, upstreams, RAGLINE_MAX_BODY_MB="1", NGINX_CLIENT_CONNECTIONS=str(AT_ONCE)) as opened:
        yield opened


@pytest.fixture
def page(chrome: Browser, front: Nginx) -> Iterator[Browser]:
    """The page as NGINX serves it, opened anew."""
    chrome.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    yield (opened := Browser(chrome.driver, front.url).open())
    assert opened.faults() == []


def test_a_whole_visit(page: Browser, front: Nginx, door: Door, tmp_path: Path) -> None:
    served = httpx.get(front.url, headers={"Accept": "text/html"}, trust_env=False)
    assert served.headers["content-security-policy"] == POLICY
    put_in(page, tmp_path)
    asked(page, door)
    page.one(".answer .cite").click()
    mark = page.until(lambda: page.all("#source-text mark"))[0]
    assert mark.text == FACT
    page.press(Keys.ESCAPE)
    page.one(".thumbs [aria-label='Good answer']").click()
    page.press("As it is.", Keys.ENTER)
    page.until(lambda: "noted" in page.one(".thumbs").text)
    page.driver.refresh()
    page.until(lambda: page.all(".turn[data-state=done]"))
    assert page.one(".turn .question").text == QUESTION
    none_yet = 404  # a collection of which there are no documents yet
    assert {line["status"] for line in front.requests()} <= {200, 201, 202, 304, none_yet}


def put_in(page: Browser, folder: Path) -> None:
    """Upload a file and see how far it is."""
    (folder / "bell.md").write_text(f"# The bell\n\n{FACT}\n")
    page.one("#open-documents").click()
    field = page.one("#documents-collection")
    field.clear()
    field.send_keys(COLLECTION, Keys.TAB)
    page.run(STATES)
    page.one("#files").send_keys(str(folder / "bell.md"))
    page.until(lambda: ended(page, "bell.md"))
    assert page.run("return window.states['bell.md']")[-3:] == ["sending", "working", "done"]
    page.press(Keys.ESCAPE)
    choose(page, COLLECTION)


def asked(page: Browser, door: Door) -> None:
    """Ask, and see the first words while the rest is still held back behind NGINX."""
    page.run("document.getElementById('question').focus()")
    with door.fault(Fault("/generate", after=b"event: token")) as held:
        page.press(QUESTION, Keys.ENTER)
        page.until(lambda: page.all(".turn[data-state=writing]"))
        assert held.reached.is_set()
        assert page.one(".answer").text
    assert page.settled().get_attribute("data-state") == "done"
    assert "12 times" in page.one(".answer").text


def test_the_limits_of_the_door_are_sentences(page: Browser, front: Nginx) -> None:
    page.run(DROP, {"large.txt": "The bell of Marn is large. " * 60_000})
    page.until(lambda: state(page, "large.txt").startswith("failed"))
    told = "Too large: The body is over the limit of 1 MB; RAGLINE_MAX_BODY_MB sets it."
    assert state(page, "large.txt") == f"failed: {told}"
    page.press(Keys.ESCAPE)
    with ExitStack() as stack:
        for _ in range(AT_ONCE):
            stack.enter_context(socket.create_connection((HOST, front.port))).sendall(UNFINISHED)
        page.until(lambda: httpx.get(f"{front.url}/readyz", trust_env=False).status_code == 429)
        assert page.ask(QUESTION).get_attribute("data-state") == "failed"
        assert "asks for more than the door lets through" in page.one(".turn .problem").text
    page.until(lambda: httpx.get(f"{front.url}/readyz", trust_env=False).status_code == 200)
    again = page.one(".turn .problem button")
    page.until(again.is_enabled)
    again.click()
    assert page.settled().get_attribute("data-state") in {"done", "abstained"}
