"""Putting documents in through the page, seeing what is there, and taking it out."""

from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.suite import Suite, put
from tests.web.browser import Browser
from tests.web.conftest import choose
from tests.web.door import Door, Fault
from tests.web.uploads import DROP, STATES, ended, state


@pytest.fixture
def shelf(page: Browser, request: pytest.FixtureRequest) -> str:
    """A collection for one test, opened in the dialog."""
    name = f"shelf-{abs(hash(request.node.name)) % 10**8}"
    page.one("#open-documents").click()
    field = page.one("#documents-collection")
    field.clear()
    field.send_keys(name, Keys.TAB)
    page.until(lambda: "no documents yet" in page.one("#documents-count").text)
    return name


def titles(page: Browser) -> list[str]:
    rows = "return [...document.querySelectorAll('#documents-list .row-title')].map((row) => row.textContent)"
    found: list[str] = page.run(rows)
    return found


def test_files_go_in_and_can_be_asked(page: Browser, shelf: str, tmp_path: Path) -> None:
    files = {
        "bell.md": b"# The bell\n\nThe bell of Marn rings 12 times at noon.",
        "broken.pdf": b"%PDF-1.4 this is none",
        "empty.txt": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    page.run(STATES)
    page.one("#files").send_keys("\n".join(str(tmp_path / name) for name in files))
    page.until(lambda: state(page, "bell.md").startswith("done"))
    page.until(lambda: all(state(page, name).startswith("failed") for name in ("broken.pdf", "empty.txt")))
    assert "PDF" in state(page, "broken.pdf")
    assert "empty" in state(page, "empty.txt")
    assert page.run("return window.states['bell.md']")[-3:] == ["sending", "working", "done"]
    page.until(lambda: titles(page) == ["The bell"])
    page.press(Keys.ESCAPE)
    page.until(lambda: page.one("#collection").get_attribute("value") == shelf)
    page.ask("How often does the bell of Marn ring at noon?")
    assert "12 times" in page.one(".answer").text


def test_files_are_dropped_anywhere(page: Browser, door: Door, suite: Suite) -> None:
    choose(page, "default")
    page.run(
        DROP, {"drop-1.txt": "The stone of Marn weighs 9 tons.", "drop-2.txt": "The oak of Marn is 300 years old."}
    )
    page.until(lambda: page.one("#documents").is_displayed())
    for name in ("drop-1.txt", "drop-2.txt"):
        page.until(partial(ended, page, name))
    with suite.client() as client:
        for name in ("drop-1.txt", "drop-2.txt"):
            assert client.delete(f"/documents/{name}").status_code == 200


def test_an_upload_is_cancelled(page: Browser, shelf: str, door: Door) -> None:
    with door.fault(Fault("/documents", after=b"{", times=1)):
        page.run(DROP, {"never.txt": "This is not to be asked."})
        page.until(lambda: state(page, "never.txt").startswith("sending"))
        page.one("#uploads button").click()
        assert state(page, "never.txt") == "cancelled: cancelled"
    page.one("#uploads button").click()
    assert not page.all("#uploads li")


def test_a_busy_server_gets_the_file_later(page: Browser, shelf: str, door: Door) -> None:
    busy = {"title": "Too many requests", "detail": "The queue is full."}
    with door.fault(Fault("/documents", status=429, body=busy, headers={"retry-after": "1"})):
        page.run(DROP, {"patient.txt": "The gate of Marn opens at six."})
        page.until(lambda: "trying again in 1 s" in state(page, "patient.txt"))
        page.until(lambda: state(page, "patient.txt").startswith("done"))


def test_a_refused_file_says_why(page: Browser, shelf: str, door: Door) -> None:
    body = {
        "title": "Too large",
        "detail": "The body is over the limit.",
        "errors": [{"field": "files[0]", "detail": ""}],
    }
    with door.fault(Fault("/documents", status=413, body=body)):
        page.run(DROP, {"large.txt": "x"})
        page.until(lambda: state(page, "large.txt").startswith("failed"))
    assert state(page, "large.txt") == "failed: Too large: The body is over the limit. (files[0])"


def test_a_document_is_deleted_once_that_is_confirmed(page: Browser, shelf: str, suite: Suite) -> None:
    page.one("#documents [data-close]").click()
    with suite.client() as client:
        put(
            client,
            [{"id": f"d/{n} ü", "title": f"Sheet {n}", "text": f"Sheet {n} of Marn."} for n in (1, 2)],
            shelf,
        )
    page.one("#open-documents").click()
    field = page.one("#documents-collection")
    field.clear()
    field.send_keys(shelf, Keys.TAB)
    page.until(lambda: titles(page) == ["Sheet 1", "Sheet 2"])
    delete = page.one("[aria-label='Delete Sheet 1']")
    delete.click()
    assert page.one("#confirm").is_displayed()
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.one("#confirm").is_displayed())
    page.until(lambda: page.driver.switch_to.active_element == delete)
    delete.click()
    page.one("#confirm-yes").click()
    page.until(lambda: titles(page) == ["Sheet 2"])
    with suite.client() as client:
        listed = client.get("/documents", params={"collection": shelf}).json()["documents"]
    assert [each["id"] for each in listed] == ["d/2 ü"]
