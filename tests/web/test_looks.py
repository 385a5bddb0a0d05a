"""How the page looks and feels: themes, narrow screens, the keyboard, names for those who listen."""

from functools import partial

import pytest
from selenium.webdriver.common.keys import Keys

from tests.web.browser import Browser

QUESTION = "When were the mills of Brell closed?"
AA = 4.5
# The contrast of each text with what lies behind it, in words for those under 4.5 (3 for large letters).
CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
const behind = (node) => {
  for (let each = node; each; each = each.parentElement) {
    const found = rgba(getComputedStyle(each).backgroundColor);
    if (found[3] > 250) return found;
  }
  return [255, 255, 255, 255];
};
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const [text, node] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
  if (!text || node.closest("noscript, .unseen, :disabled, datalist") || !node.checkVisibility()) continue;
  const style = getComputedStyle(node);
  const [one, other] = [light(rgba(style.color)), light(behind(node))].sort((a, b) => b - a);
  const ratio = (one + 0.05) / (other + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
}
return poor;
"""
# What a checker of accessibility would say of names, labels, ids and roles.
NAMES = """
const faults = [];
const named = (node) =>
  (node.getAttribute("aria-label") || node.labels?.[0]?.textContent || node.textContent || "").trim();
for (const node of document.querySelectorAll("button, input:not([hidden]), select, textarea, progress, dialog")) {
  const by = node.getAttribute("aria-labelledby");
  const name = by ? document.getElementById(by)?.textContent : named(node);
  if (!name) faults.push(`no name: ${node.outerHTML.slice(0, 80)}`);
}
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push(`id twice: ${id}`);
for (const node of document.querySelectorAll("[aria-describedby], [aria-labelledby], label[for]")) {
  for (const name of ["aria-describedby", "aria-labelledby", "for"]) {
    const id = node.getAttribute(name);
    if (id && !document.getElementById(id)) faults.push(`${name} leads nowhere: ${id}`);
  }
}
const unwanted = "img:not([alt]), svg:not([aria-hidden]), button button, a button, button a";
for (const node of document.querySelectorAll(unwanted)) faults.push(node.outerHTML);
for (const node of document.querySelectorAll("[tabindex]")) if (node.tabIndex > 0) faults.push("tabindex over 0");
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((node) => Number(node.tagName[1]));
if (levels.filter((level) => level === 1).length !== 1) faults.push("not one h1");
if (!document.documentElement.lang || !document.title) faults.push("no language or title");
if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
return faults;
"""
SMALL = """
return [...document.querySelectorAll("button, summary, input[type=checkbox], select")]
  .filter((node) => node.checkVisibility() && !node.closest(".check"))
  .filter((node) => Math.min(node.offsetWidth, node.offsetHeight) < 24)
  .map((node) => node.outerHTML.slice(0, 80));
"""
WIDER = """
return document.documentElement.scrollWidth > innerWidth
  || [...document.querySelectorAll("dialog[open], .view")].some((each) => each.scrollWidth > each.clientWidth);
"""


def paper(page: Browser) -> str:
    found: str = page.run("return getComputedStyle(document.documentElement).backgroundColor")
    return found


def everything(page: Browser) -> None:
    """All that can be seen at once: an answer, its source, the choices, an abstention, a problem."""
    page.ask("Who won the football match yesterday?")
    page.ask(QUESTION)
    page.one(".turn:last-child .passages summary").click()
    page.one("#scope summary").click()
    page.one("#add-condition").click()
    page.one(".turn:last-child .cite").click()
    page.until(lambda: page.all("#source-text mark"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_read_in_both_themes(page: Browser, theme: str) -> None:
    page.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
    everything(page)
    assert page.run(CONTRAST) == []
    page.one("#source-close").click()
    page.run("document.getElementById('top-k').value = 100000")
    page.ask(QUESTION)
    page.one("#open-documents").click()
    page.until(lambda: page.all("#documents-list li"))
    assert page.run("return document.scrollingElement.scrollTop") == 0
    assert page.run(CONTRAST) == []
    assert page.run(NAMES) == []
    assert page.run(SMALL) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_earlier_conversations_can_be_read_in_both_themes(page: Browser, theme: str) -> None:
    page.prefer(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
    page.ask(QUESTION + " really" * 60)
    page.driver.refresh()
    page.until(lambda: page.all(".turn[data-answer]"))
    assert page.run(CONTRAST) == []
    page.one("#new").click()
    page.resize(320, 640)
    assert not page.run(WIDER)
    for faults in (CONTRAST, NAMES, SMALL):
        assert page.run(faults) == []
    page.one("#earlier-list .quiet").click()
    assert page.one("#confirm").is_displayed()
    assert page.run(CONTRAST) == []
    page.press(Keys.ESCAPE)
    page.resize(1280, 900)


def test_the_theme_is_chosen_and_kept(page: Browser) -> None:
    light = paper(page)
    page.prefer(prefers_color_scheme="dark")
    dark = paper(page)
    assert light != dark
    page.one("#theme").click()
    assert paper(page) == light
    page.one("#theme").click()
    assert page.one("#theme").get_attribute("aria-label") == "Colours: dark"
    page.prefer(prefers_color_scheme="light")
    assert paper(page) == dark
    page.driver.refresh()
    assert paper(page) == dark
    page.until(lambda: page.one("#stock").text != "")


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Browser) -> None:
    page.resize(320, 640)
    assert not page.run(WIDER)
    page.ask("Who is the tower keeper of Brell?" + "x" * 80)
    everything(page)
    assert not page.run(WIDER)
    assert page.run("return document.getElementById('source').matches(':modal')")
    page.one("#source-close").click()
    for opener, row in (("#open-documents", "#documents-list li"), ("#open-keys", "#keys kbd")):
        page.one(opener).click()
        page.until(partial(page.all, row))
        assert not page.run(WIDER)
        page.press(Keys.ESCAPE)
    page.resize(1280, 900)


def focused(page: Browser) -> str:
    """What has the focus; it must be seen to have it."""
    return str(
        page.run(
            "const node = document.activeElement, style = getComputedStyle(node), box = node.closest('.box');"
            "const ring = style.outlineStyle !== 'none' || (box && getComputedStyle(box).outlineStyle !== 'none');"
            "return node === document.body ? 'body' : `${node.id || node.className}${ring ? '' : ' unseen'}`"
        )
    )


def test_all_of_it_is_done_with_keys(page: Browser) -> None:
    walked = [focused(page)]
    while walked[-1] != "skip":
        page.press(Keys.SHIFT + Keys.TAB + Keys.NULL)
        walked.append(focused(page))
    assert walked == ["question", "view", "open-keys", "theme", "open-documents", "skip"]
    page.press(Keys.ENTER)
    assert focused(page) == "question"
    page.run("document.activeElement.blur()")
    page.press("/")
    assert focused(page) == "question"
    page.press(QUESTION, Keys.ENTER)
    page.settled()
    while not focused(page).startswith("cite"):
        page.press(Keys.SHIFT + Keys.TAB + Keys.NULL)
    page.press(Keys.ENTER)
    page.until(lambda: page.all("#source-text mark"))
    assert page.run("return document.activeElement.closest('#source') !== null")
    page.press(Keys.ESCAPE)
    page.until(lambda: focused(page).startswith("cite"))
    page.press("?")
    page.until(lambda: page.one("#keys").is_displayed())
    for _ in range(
        7
    ):  # in headless Chromium the focus may pass over the body, as it passes over the window's frame
        page.press(Keys.TAB)
        assert page.run(
            "return document.activeElement === document.body || !!document.activeElement.closest('#keys')"
        )
    page.press(Keys.ESCAPE)
    page.until(lambda: focused(page).startswith("cite"))


def test_the_single_keys_are_switched_off(page: Browser) -> None:
    page.one("#open-keys").click()
    page.one("#keys-on").click()
    page.press(Keys.ESCAPE)
    page.until(lambda: focused(page) == "open-keys")
    page.run("document.activeElement.blur()")
    page.press("/", "?")
    assert focused(page) == "body"
    assert not page.one("#keys").is_displayed()


def test_listeners_are_told_of_an_answer_once(page: Browser) -> None:
    page.run(
        "const said = document.getElementById('said'); window.told = [];"
        "new MutationObserver(() => window.told.push(said.textContent)).observe(said, {childList: true})"
    )
    page.ask(QUESTION)
    told = page.run("return window.told")
    assert told[:2] == ["Searching.", "Writing the answer."]
    assert len(told) == 3
    assert told[2].startswith("Answer: ")
    assert "[1]" not in told[2]
    assert "source" in told[2]


def test_little_moves_for_those_who_want_that(page: Browser) -> None:
    page.prefer(prefers_reduced_motion="reduce")
    page.ask(QUESTION)
    assert page.run("return document.getAnimations().length") == 0
