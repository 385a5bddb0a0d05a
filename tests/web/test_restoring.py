"""Coming back: after a reload, to an earlier conversation, in another tab, and when it is over."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
from selenium.webdriver.common.keys import Keys

from tests.suite import Suite
from tests.web.browser import Browser
from tests.web.conftest import COLLECTION, choose
from tests.web.door import Door, Fault

QUESTION = "When were the mills of Brell closed?"
FOLLOW_UP = "And how many boats does its harbour hold?"
UNANSWERED = "Who won the football match yesterday?"
# What listeners are told, from the first moment on.
LISTEN = """
window.told = [];
new MutationObserver((changes) => {
  for (const {target: {id, textContent: text}} of changes) if (id === "said" && text) window.told.push(text);
}).observe(document, {childList: true, subtree: true});
"""
SESSION = "return sessionStorage.getItem('ragline-conversation')"


def reload(page: Browser, turns: int) -> None:
    """Load the page again and wait until so many turns stand there."""
    page.driver.refresh()
    page.until(lambda: len(page.all(".turn[data-answer]")) == turns)


def welcomed(page: Browser) -> bool:
    """Whether the page stands there as if nothing was asked."""
    found: bool = page.run(
        "return document.getElementById('welcome').checkVisibility() && !document.querySelector('.turn')"
        "&& document.getElementById('stock').textContent !== ''"
    )
    return found


def texts(page: Browser, selector: str) -> list[str]:
    """What all elements that fit say, in one look at the page."""
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    found: list[str] = page.run(script, selector)
    return found


def questions(page: Browser) -> list[str]:
    return texts(page, ".turn .question")


def earlier(page: Browser) -> list[str]:
    return texts(page, "#earlier-list .row-title")


def session(page: Browser) -> str:
    found: str = page.run(SESSION)
    return found


@contextmanager
def other_tab(page: Browser) -> Iterator[str]:
    """A second tab of the same browser, in front inside the block; yields the handle of the first."""
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        page.driver.get(f"{page.url}/")
        page.until(lambda: page.one("#stock").text != "")
        yield first
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)


def looks(page: Browser) -> list[Any]:
    """All that there is to see of answers, but for when and how they came."""
    found: list[Any] = page.run(
        "return [...document.querySelectorAll('.turn')].map((turn) => [turn.dataset.state,"
        "...[...turn.querySelectorAll('.question, .answer, .note, .sources')].map((each) => each.textContent)"
        ".filter((text) => !text.startsWith('A kept answer'))])"
    )
    return found


def test_a_reload_shows_the_conversation_as_it_was(page: Browser, door: Door) -> None:
    page.ask(QUESTION)
    page.ask(UNANSWERED)
    page.ask(FOLLOW_UP)
    before = looks(page)
    script = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
    try:
        reload(page, 3)
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert looks(page) == before
    assert page.driver.switch_to.active_element == page.one("#question")
    assert page.one("#question").get_attribute("value") == ""
    assert page.run("return window.told") == ["This conversation goes on after 3 answers."]
    assert not page.one("#welcome").is_displayed()
    page.until(lambda: page.one("#collection").get_attribute("value") == COLLECTION)
    page.ask("And what do tickets cost?")
    assert len({sent["session_id"] for sent in door.sent("/generate")[-4:]}) == 1


def test_restored_citations_lead_to_their_quotes(page: Browser) -> None:
    page.ask(QUESTION)
    quotes = [each.text for each in page.all(".sources q")]
    reload(page, 1)
    choose(page, "default")  # it is the collection of the answer that counts
    assert [each.text for each in page.all(".sources q")] == quotes
    page.one(".answer .cite").click()
    mark = page.until(lambda: page.all("#source-text mark"))[0]
    assert page.run("return arguments[0].textContent", mark) == quotes[0]
    assert page.one("#source-title").text == "Brell, a guide"


def test_a_conversation_that_is_over_is_no_error(page: Browser, suite: Suite, door: Door) -> None:
    page.ask(QUESTION)
    over = session(page)
    httpx.delete(f"{suite.url}/sessions/{over}").raise_for_status()
    page.driver.refresh()
    page.until(lambda: welcomed(page))
    assert not page.all(".problem")
    assert not page.one("#earlier").is_displayed()
    choose(page, COLLECTION)
    page.ask(QUESTION)
    assert door.sent("/generate")[-1]["session_id"] != over
    reload(page, 1)


def test_an_earlier_conversation_goes_on_or_is_deleted(page: Browser, suite: Suite) -> None:
    page.ask(QUESTION)
    first = session(page)
    page.one("#new").click()
    assert welcomed(page)
    assert page.driver.switch_to.active_element == page.one("#question")
    page.ask(UNANSWERED)
    page.one("#new").click()
    assert earlier(page) == [UNANSWERED, QUESTION]
    page.all("#earlier-list .row-title")[1].click()
    page.until(lambda: page.all(".turn[data-answer]"))
    assert questions(page) == [QUESTION]
    assert page.driver.switch_to.active_element == page.one("#question")
    assert session(page) == first
    page.one("#new").click()
    page.one(f"#earlier [aria-label='Delete the conversation {QUESTION}']").click()
    assert QUESTION in page.one("#confirm-text").text
    page.one("#confirm-yes").click()
    page.until(lambda: earlier(page) == [UNANSWERED])
    assert httpx.get(f"{suite.url}/sessions/{first}").status_code == 404


def test_one_that_is_over_leaves_the_list_with_a_word(page: Browser, suite: Suite) -> None:
    page.ask(QUESTION)
    httpx.delete(f"{suite.url}/sessions/{session(page)}").raise_for_status()
    page.one("#new").click()
    page.one("#earlier-list button").click()
    page.until(lambda: "is over" in page.one("#earlier-told").text)
    assert not page.all("#earlier-list li")
    assert welcomed(page)


def test_a_server_that_is_away_is_asked_again(page: Browser, door: Door) -> None:
    page.ask(QUESTION)
    away = {"title": "Unavailable", "detail": "The store of sessions is away."}
    with door.fault(Fault(f"/sessions/{session(page)}", status=503, body=away)):
        page.driver.refresh()
        page.until(lambda: page.all("#returning .problem"))
    assert "cannot be shown now" in page.one("#returning").text
    page.until(lambda: page.one("#collection").text != "default")
    choose(page, COLLECTION)
    page.ask(FOLLOW_UP)
    assert questions(page) == [FOLLOW_UP]
    page.one("#returning .problem button").click()
    page.until(lambda: questions(page) == [QUESTION, FOLLOW_UP])
    assert not page.all(".problem")


def test_a_long_conversation_is_shown_from_its_end(page: Browser, suite: Suite) -> None:
    asked = [f"{QUESTION} {n}" for n in range(23)]
    long = uuid4().hex
    with suite.client() as client:
        for query in asked:
            body = {"query": query, "collection": COLLECTION, "session_id": long, "mode": "sparse"}
            client.post("/generate", json=body).raise_for_status()
    page.run("sessionStorage.setItem('ragline-conversation', arguments[0])", long)
    page.driver.refresh()
    page.until(lambda: len(page.all(".turn")) == 20)
    assert questions(page) == asked[3:]
    more = page.one("#returning button")
    assert "3 more answers" in more.text
    more.click()
    assert questions(page) == asked
    assert not page.all("#returning button")
    assert page.run("return document.activeElement.id") == "view"


def test_two_tabs_have_a_conversation_each_unless_they_share_one(page: Browser) -> None:
    page.ask(QUESTION)
    shared = session(page)
    with other_tab(page) as first:
        second = page.driver.current_window_handle
        assert welcomed(page)
        page.one("#earlier-list button").click()
        page.until(lambda: page.all(".turn[data-answer]"))
        choose(page, COLLECTION)
        page.ask(FOLLOW_UP)
        assert session(page) == shared
        page.driver.switch_to.window(first)
        page.until(lambda: questions(page) == [QUESTION, FOLLOW_UP])
        page.driver.switch_to.window(second)
        page.one("#new").click()
        page.one("#earlier-list .quiet").click()
        page.one("#confirm-yes").click()
        page.until(lambda: not earlier(page))
    page.until(lambda: "deleted elsewhere" in page.one("#turns").text)
    page.ask(UNANSWERED)
    assert session(page) != shared


def test_what_was_typed_or_half_answered_stands_in_the_box_again(page: Browser, door: Door) -> None:
    page.press("Half a question")
    page.driver.refresh()
    page.until(lambda: page.one("#question").get_attribute("value") == "Half a question")
    page.until(lambda: page.one("#stock").text != "")
    choose(page, COLLECTION)
    page.run("const field = document.getElementById('question'); field.value = ''; field.focus()")
    with door.fault(Fault("/generate", after=b"event: token")):
        page.press(QUESTION, Keys.ENTER)
        page.until(lambda: page.all(".turn[data-state=writing]"))
        page.driver.refresh()
    page.until(lambda: page.one("#question").get_attribute("value") == QUESTION)


def test_an_opinion_is_asked_for_once(page: Browser) -> None:
    page.ask(QUESTION)
    page.one(".thumbs [aria-label='Good answer']").click()
    page.press(Keys.ENTER)
    page.until(lambda: "noted" in page.one(".thumbs").text)
    page.ask(UNANSWERED)
    reload(page, 2)
    assert ["rated" in each.text for each in page.all(".thumbs")] == [True, False]


def test_what_others_left_in_the_store_of_the_browser_does_no_harm(page: Browser) -> None:
    for rubbish in ("{", '{"a": 1}', '[null, 1, {"id": 3}]', '[{"id": "x", "title": "t", "at": "?"}]'):
        page.run(
            "localStorage.setItem('ragline-conversations', arguments[0]);"
            "localStorage.setItem('ragline-rated', arguments[0]);"
            "sessionStorage.setItem('ragline-conversation', 'no such/one')",
            rubbish,
        )
        page.driver.refresh()
        page.until(lambda: welcomed(page))
        assert not page.all(".problem")
    choose(page, COLLECTION)
    assert page.ask(QUESTION).get_attribute("data-state") == "done"
