"""A headless Chromium of its own, for tests of the page: an empty profile, and nothing in the background."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

PROGRAM = "chromium"
DRIVER = "chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--lang=en",
)
WAIT_S = 60.0
LOAD_S = 15.0
ATTEMPTS = 3
# Not of the page's making: a server that refused something, which the page shows; the network of the machine.
PASSING = ("the server responded with a status of", "ERR_NETWORK_CHANGED")

# Set before any script of the page: what a browser only says in passing is kept for the test to ask.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
window.faults = [];
window.addEventListener("error", (event) => window.faults.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => window.faults.push(String(event.reason)));
"""


class Browser:
    """What a person at the page does and sees."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, *, width: int = 1280, height: int = 900) -> Browser:
        """The page anew, as if never seen before."""
        self.resize(width, height)
        self.driver.get(f"{self.url}/web/mark.svg")  # of the same origin, and no page that would keep anything
        self.run("localStorage.clear(); sessionStorage.clear()")
        for attempt in range(ATTEMPTS):
            self.driver.get(f"{self.url}/")
            if self.loaded(last=attempt == ATTEMPTS - 1):
                break
        return self

    def loaded(self, *, last: bool) -> bool:
        """Wait until the page works; false where a part of it did not come, as when the network changed."""
        try:
            self.until(lambda: self.one("#stock").text != "", WAIT_S if last else LOAD_S)
        except TimeoutException:
            if last:
                raise
            return False
        return True

    def resize(self, width: int, height: int) -> None:
        """The size that the page has, whatever the window around it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, **features: str) -> None:
        """Media features that the person set in their system, such as prefers_color_scheme="dark"."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})

    def one(self, selector: str) -> WebElement:
        """The first element that fits."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements that fit."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def until(self, ready: Callable[[], Any], most_s: float = WAIT_S) -> Any:
        """Wait until it is so, also while the page replaces what is looked at; returns what ``ready`` did."""
        replaced = [StaleElementReferenceException]
        return WebDriverWait(self.driver, most_s, 0.05, replaced).until(lambda _: ready())

    def press(self, *keys: str) -> None:
        """Keys, wherever the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def ask(self, question: str) -> WebElement:
        """Ask and wait for the end of the answer, however it ends; returns the turn."""
        before = len(self.all(".turn"))
        self.run("document.getElementById('question').focus()")
        self.press(question, "\ue007")
        self.until(lambda: len(self.all(".turn")) > before)
        return self.settled()

    def settled(self) -> WebElement:
        """The last turn once it has ended."""
        done = ".turn:last-child:not([data-state=searching]):not([data-state=writing])"
        found: list[WebElement] = self.until(lambda: self.all(done))
        return found[0]

    def faults(self) -> list[str]:
        """Violations of the policy, and failures of scripts, since the page was opened."""
        found: list[str] = self.run("return [...window.violations, ...window.faults]")
        lines: list[dict[str, Any]] = self.driver.execute(Command.GET_LOG, {"type": "browser"})["value"]
        severe = [line["message"] for line in lines if line["level"] == "SEVERE"]
        return found + [message for message in severe if not any(each in message for each in PASSING)]


@contextmanager
def chromium(url: str, folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in ``folder``."""
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.binary_location = shutil.which(PROGRAM) or PROGRAM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("pageLoadStrategy", "normal")
    # With its path given, selenium looks for no driver, and fetches none.
    driver = webdriver.Chrome(
        options, Service(shutil.which(DRIVER) or DRIVER, log_output=str(folder / "driver.log"))
    )
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        yield Browser(driver, url)
    finally:
        driver.quit()
