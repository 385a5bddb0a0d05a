"""Writes pictures of the page answering a real question: ``python -m tests.web.screenshots FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.suite import Suite, put
from tests.web.browser import Browser, chromium

ROOT = Path(__file__).parent.parent.parent
QUESTION = "How often is a document tried whose message failed?"
UNANSWERED = "Who won the football match yesterday?"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Suite(Path(scratch) / "suite") as suite:
        with suite.client() as client:
            put(client, [document(path) for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))])
        with chromium(suite.url, Path(scratch)) as browser:
            browser.prefer(prefers_reduced_motion="reduce", prefers_color_scheme="light")
            wide(browser, folder)
            narrow(browser, folder)


def document(path: Path) -> dict[str, object]:
    text = path.read_text()
    title = text.partition("\n")[0].removeprefix("# ")
    return {"id": path.relative_to(ROOT).as_posix(), "title": title, "text": text, "metadata": {"kind": "how-to"}}


def wide(browser: Browser, folder: Path) -> None:
    browser.open(width=1280, height=820)
    shoot(browser, folder / "welcome.png")
    browser.ask(QUESTION)
    shoot(browser, folder / "answer.png")
    cite(browser)
    shoot(browser, folder / "light.png")
    browser.prefer(prefers_reduced_motion="reduce", prefers_color_scheme="dark")
    shoot(browser, folder / "dark.png")
    browser.prefer(prefers_reduced_motion="reduce", prefers_color_scheme="light")
    browser.one("#source-close").click()
    browser.ask(UNANSWERED)
    browser.one("#scope summary").click()
    browser.one("#add-condition").click()
    shoot(browser, folder / "abstained.png")
    browser.one("#scope summary").click()
    browser.one("#open-documents").click()
    browser.until(lambda: browser.all("#documents-list li"))
    shoot(browser, folder / "documents.png")


def narrow(browser: Browser, folder: Path) -> None:
    browser.open(width=320, height=640)
    browser.ask(QUESTION)
    shoot(browser, folder / "narrow.png")
    cite(browser)
    shoot(browser, folder / "narrow-source.png")
    browser.one("#source-close").click()
    browser.one("#open-documents").click()
    browser.until(lambda: browser.all("#documents-list li"))
    shoot(browser, folder / "narrow-documents.png")


def cite(browser: Browser) -> None:
    browser.one(".turn:last-child .cite").click()
    browser.until(lambda: browser.all("#source-text mark"))


def shoot(browser: Browser, path: Path) -> None:
    browser.driver.save_screenshot(str(path))
    sys.stdout.write(f"{path}: {path.stat().st_size // 1024} KB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
