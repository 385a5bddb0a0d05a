"""Asking: the answer as it comes, its sources, and everything that may go wrong with it."""

from typing import Any

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.suite import Suite, put
from tests.web.browser import Browser
from tests.web.conftest import COLLECTION, HARBOUR
from tests.web.door import Door, Fault

QUESTION = "When were the mills of Brell closed?"
TOKEN = b"event: token"
IN_VIEW = """
const [mark, place] = [arguments[0].getBoundingClientRect(), arguments[1].getBoundingClientRect()];
return mark.top >= place.top - 1 && mark.bottom <= place.bottom + 1;
"""
SELECTED = """
const range = document.createRange(); range.selectNodeContents(arguments[0]);
getSelection().removeAllRanges(); getSelection().addRange(range); return getSelection().toString();
"""


def answered(suite: Suite, question: str, **choices: Any) -> dict[str, Any]:
    """What the server says to the same question."""
    body = {"query": question, "collection": COLLECTION, **choices}
    found: dict[str, Any] = httpx.post(f"{suite.url}/generate", json=body, timeout=60).raise_for_status().json()
    return found


def text(page: Browser) -> str:
    """The answer as it stands there, with its markers."""
    said: str = page.run(
        "const copy = document.querySelector('.turn:last-child .answer').cloneNode(true);"
        "for (const each of copy.querySelectorAll('.cite')) each.replaceWith(each.dataset.marker);"
        "return copy.textContent"
    )
    return said


def notes(page: Browser) -> str:
    return " ".join(each.text for each in page.all(".turn:last-child .note"))


def test_an_answer_comes_piece_by_piece(page: Browser, door: Door, suite: Suite) -> None:
    with door.fault(Fault("/generate", after=TOKEN)) as held:
        page.press(QUESTION, Keys.ENTER)
        page.until(lambda: page.all(".turn[data-state=writing]"))
        assert held.reached.is_set()
        assert page.one(".answer").get_attribute("aria-busy") == "true"
        assert page.one("#stop").is_displayed()
        begun = text(page)
        held.release.set()
        assert page.settled().get_attribute("data-state") == "done"
    whole = answered(suite, QUESTION)
    assert text(page) == whole["answer"]
    assert begun
    assert whole["answer"].startswith(begun)
    assert len(page.all(".answer .cite")) == len(page.all(".sources li")) == len(whole["citations"]) > 0
    assert page.one("#send").is_displayed()


def test_shift_and_enter_begin_a_new_line(page: Browser) -> None:
    page.press("one", Keys.SHIFT + Keys.ENTER + Keys.NULL, "two")
    assert page.one("#question").get_attribute("value") == "one\ntwo"
    assert not page.all(".turn")


def test_a_citation_leads_to_exactly_its_quote(page: Browser, suite: Suite) -> None:
    page.ask(QUESTION)
    whole = answered(suite, QUESTION)
    for citation in whole["citations"]:
        page.one(f".answer [data-marker='{citation['marker']}']").click()
        mark = page.until(lambda: page.all("#source-text mark"))[0]
        assert page.run(SELECTED, mark) == page.run("return arguments[0].textContent", mark) == citation["quote"]
        assert not page.all("#source-text .warn")
        assert page.run(IN_VIEW, mark, page.one("#source-text"))
        shown = page.run("return document.querySelector('.page-text').textContent")
        if citation["document_id"].startswith("guide/"):
            assert shown == HARBOUR
            assert HARBOUR.index(citation["quote"]) == citation["start"] > 0
        page.one("#source-close").click()
        page.until(lambda: not page.one("#source").is_displayed())
    assert any(each["document_id"].startswith("guide/") for each in whole["citations"])


def test_the_source_tells_title_place_and_score(page: Browser) -> None:
    page.ask("When does the ferry to Osk leave?")
    cites = page.all(".answer .cite")
    cites[0].send_keys(Keys.ENTER)
    page.until(lambda: page.all("#source-text mark"))
    assert page.one("#source-title").text in {"Brell, a guide", "Old timetable"}
    assert "%" in page.one("#source-about").text
    assert f"1 of {len(cites)}" in page.one("#source-place").text
    if len(cites) > 1:
        before = page.one("#source-text mark").text
        page.one("#source-after").click()
        page.until(lambda: f"2 of {len(cites)}" in page.one("#source-place").text)
        page.until(lambda: page.all("#source-text mark") and page.one("#source-text mark").text != before)
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.one("#source").is_displayed())
    page.until(lambda: page.driver.switch_to.active_element == cites[0])


def test_a_long_document_is_shown_around_the_quote(page: Browser, suite: Suite) -> None:
    filler = [f"Room {n} of the archive 📦 holds the papers of year {n} and of nobody else." for n in range(1, 90)]
    filler[45] = "The seal of Brell is kept behind the blue door of the cellar."
    with suite.client() as client:
        put(client, [{"id": "archive", "title": "The archive", "text": "\n\n".join(filler)}], COLLECTION)
    page.ask("Where is the seal of Brell kept?")
    page.one(".answer .cite").click()
    mark = page.until(lambda: page.all("#source-text mark"))[0]
    assert mark.text == filler[45]
    shown = len(page.one(".page-text").text)
    assert shown < len("\n\n".join(filler)) / 2
    assert page.all(".neighbour")
    page.one("#source-text > button").click()
    assert len(page.one(".page-text").text) > shown
    assert page.one("#source-text mark").text == filler[45]


def test_a_source_that_changed_or_went_is_no_secret(page: Browser, suite: Suite) -> None:
    with suite.client() as client:
        put(client, [{"id": "lamp", "text": "The lamp of Brell is lit by Oona Karr."}], COLLECTION)
        page.ask("Who lights the lamp of Brell?")
        put(client, [{"id": "lamp", "text": "A word before. The lamp of Brell is lit by Oona Karr."}], COLLECTION)
        page.one(".answer .cite").click()
        page.until(lambda: page.all("#source-text mark"))
        assert "has changed since" in page.one("#source-text .warn").text
        assert page.one("#source-text mark").text == "The lamp of Brell is lit by Oona Karr."
        page.one("#source-close").click()
        client.delete("/documents/lamp", params={"collection": COLLECTION}).raise_for_status()
    page.one(".answer .cite").click()
    page.until(lambda: page.all("#source-text mark"))
    assert "deleted" in page.one("#source-text .warn").text


def test_what_a_guard_hides_stays_hidden_in_the_source(page: Browser, suite: Suite) -> None:
    secret = "AKIA" + "IOSFODNN7EXAMPLE"  # no key: the one that the maker of such keys prints as an example
    with suite.client() as client:
        put(
            client,
            [{"id": "crane", "text": f"🏗 The crane of Brell is started with {secret} at dawn."}],
            COLLECTION,
        )
        page.ask("What is the crane of Brell started with?")
        page.one(".answer .cite").click()
        mark = page.until(lambda: page.all("#source-text mark"))[0]
        assert "█" * len(secret) in mark.text
        assert secret not in page.one("#source-text").text
        assert not page.all("#source-text .warn")
        client.delete("/documents/crane", params={"collection": COLLECTION}).raise_for_status()


def test_stopping_leaves_no_answer(page: Browser, door: Door) -> None:
    with door.fault(Fault("/generate", after=TOKEN)):
        page.press(QUESTION, Keys.ENTER)
        page.until(lambda: page.all(".turn[data-state=writing]"))
        page.press(Keys.ESCAPE)
        assert page.settled().get_attribute("data-state") == "stopped"
    assert "not the whole answer" in page.one(".turn .state").text
    assert not page.all(".sources, .thumbs")
    page.one(".turn .foot button").click()
    assert page.settled().get_attribute("data-state") == "done"
    assert len(page.all(".turn")) == 1


def test_an_answer_that_breaks_off_poses_as_none(page: Browser, door: Door) -> None:
    with door.fault(Fault("/generate", after=TOKEN, cut=True)):
        page.press(QUESTION, Keys.ENTER)
        assert page.settled().get_attribute("data-state") == "failed"
    assert "Incomplete" in page.one(".turn .state").text
    assert "broke off" in page.one(".problem").text
    assert not page.all(".sources, .thumbs")
    page.one(".problem button").click()
    assert page.settled().get_attribute("data-state") == "done"


def test_a_full_server_is_asked_again_when_it_said(page: Browser, door: Door) -> None:
    body = {"title": "Too many requests", "detail": "The queue is full; come back later."}
    with door.fault(Fault("/generate", status=429, body=body, headers={"retry-after": "1"})):
        turn = page.ask(QUESTION)
    assert turn.get_attribute("data-state") == "failed"
    assert "The queue is full" in page.one(".problem").text
    again = page.one(".problem button")
    page.until(again.is_enabled)
    again.click()
    assert page.settled().get_attribute("data-state") == "done"


def test_a_problem_names_its_field_and_the_way_out(page: Browser) -> None:
    page.run("document.getElementById('top-k').value = 100000")
    page.ask(QUESTION)
    assert page.one(".problem li code").text == "top_k"
    assert "Request " in page.one(".problem .hint").text


def test_markup_of_documents_and_questions_stays_text(page: Browser) -> None:
    page.ask("Who is the tower keeper of Brell? <img src=x onerror=window.pwned=2>")
    assert "<script>window.pwned=1</script><b>Ada Vorn</b>" in text(page)
    assert "<img src=x" in page.one(".question").text
    page.one(".answer .cite").click()
    page.until(lambda: page.all("#source-text mark"))
    assert page.one("#source-title").text == "<img src=x onerror='window.pwned=1'>"
    assert "<b>Ada Vorn</b>" in page.one("#source-text mark").text
    assert page.run(
        "return [window.pwned ?? null, document.querySelectorAll('#turns img, dialog img').length]"
    ) == [None, 0]


def test_what_runs_from_right_to_left_does_so(page: Browser) -> None:
    page.ask("متى أغلقت المطاحن في ميناء بريل؟")
    directions = (
        "return [...document.querySelectorAll('.question, .sources q')].map((e) => getComputedStyle(e).direction)"
    )
    assert "rtl" in page.run(directions)
    assert page.run("return getComputedStyle(document.querySelector('.question')).direction") == "rtl"


def test_no_answer_is_called_none(page: Browser) -> None:
    assert page.ask("Who won the football match yesterday?").get_attribute("data-state") == "abstained"
    assert "No answer" in notes(page)


def test_a_kept_answer_is_called_kept(page: Browser) -> None:
    page.ask("What do tickets for the ferry cost?")
    page.ask("What do tickets for the ferry cost?")
    assert "A kept answer" in notes(page)


def test_a_filter_keeps_documents_out(page: Browser, door: Door) -> None:
    page.one("#scope summary").click()
    for operator, value in (("$lt", "2000"), ("$gt", "1940")):
        page.one("#add-condition").click()
        row = page.all(".condition")[-1]
        row.find_element(By.CSS_SELECTOR, ".field").send_keys("year")
        row.find_element(By.CSS_SELECTOR, f"option[value='{operator}']").click()
        row.find_element(By.CSS_SELECTOR, ".value").send_keys(value)
    assert "2 conditions" in page.one("#scope-said").text
    page.one("#mode option[value=sparse]").click()
    page.one("#scope summary").click()
    page.ask("What do tickets for the ferry cost?")
    sent = door.sent("/generate")[-1]
    assert sent["filter"] == {"$and": [{"year": {"$lt": 2000}}, {"year": {"$gt": 1940}}]}
    assert sent["mode"] == "sparse"
    assert {each.text for each in page.all(".sources .row-title")} == {"Old timetable"}


def test_the_passages_that_were_read_stand_there_with_scores(page: Browser, suite: Suite) -> None:
    page.ask(QUESTION)
    page.one(".passages summary").click()
    scores = [float(each.text.split()[-1]) for each in page.all(".passages .score")]
    assert scores == sorted(scores, reverse=True)
    assert "17 boats" in page.one(".passages").text


def test_an_answer_explains_itself_when_asked(page: Browser) -> None:
    page.one("#scope summary").click()
    page.one("#explain").click()
    page.ask(QUESTION)
    page.one(".explain summary").click()
    assert "total" in page.one(".explain table").text
    assert page.all(".explain pre")


def test_an_answer_is_copied_with_its_sources(page: Browser, door: Door) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite"], "origin": door.url}
    )
    page.ask(QUESTION)
    page.one(".actions button").click()
    page.until(lambda: page.one(".actions button").text == "Copied")
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith(text(page))
    assert "[1] Brell, a guide: “" in copied


def test_thumbs_go_where_feedback_is_not_kept(page: Browser, door: Door) -> None:
    with door.fault(
        Fault("/feedback", status=404, body={"title": "Not found", "detail": "There is no /feedback here."})
    ):
        page.ask(QUESTION)
        page.one(".thumbs [aria-label='Good answer']").click()
        page.press(Keys.ENTER)
        page.until(lambda: not page.all(".thumbs"))
    page.ask(QUESTION)
    assert not page.all(".thumbs")


def test_an_opinion_is_kept_with_its_comment(page: Browser, door: Door) -> None:
    page.ask(QUESTION)
    page.one(".thumbs [aria-label='Good answer']").click()
    page.press(Keys.ESCAPE)
    assert page.one(".thumbs [aria-label='Good answer']").get_attribute("aria-pressed") == "false"
    page.one(".thumbs [aria-label='Bad answer']").click()
    page.press("It was 1922.", Keys.TAB, "In 1922.", Keys.ENTER)
    page.until(lambda: "noted" in page.one(".thumbs").text)
    (sent,) = door.sent("/feedback")[-1:]
    assert sent.pop("answer_id")
    assert sent == {"rating": "down", "comment": "It was 1922.", "corrected_answer": "In 1922."}


def test_a_conversation_goes_on_until_a_new_one_begins(page: Browser, door: Door) -> None:
    page.ask(QUESTION)
    page.ask("And how many boats does its harbour hold?")
    first, second = (sent["session_id"] for sent in door.sent("/generate")[-2:])
    assert first == second
    page.one("#new").click()
    assert not page.all(".turn")
    assert page.one("#welcome").is_displayed()
    assert page.driver.switch_to.active_element == page.one("#question")
    page.ask(QUESTION)
    assert door.sent("/generate")[-1]["session_id"] != first
