"""A browser, and the all-in-one behind a door that tests can make fail."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.fixtures import require
from tests.suite import Suite, put
from tests.web.browser import DRIVER, PROGRAM, Browser, chromium
from tests.web.door import Door, opened

COLLECTION = "page"
HARBOUR = (
    "🚢🐳 Brell, a guide 👩‍👩‍👧 for visitors.\n\n"
    "The harbour of Brell holds 17 boats. Its mills 🏭 were closed in 1921 after the great flood.\n\n"
    "The ferry to Osk leaves at noon 🕛 every day. Tickets for the ferry cost 4 crowns."
)
DOCUMENTS: list[dict[str, Any]] = [
    {
        "id": "guide/brell 1.txt",
        "title": "Brell, a guide",
        "text": HARBOUR,
        "metadata": {"year": 2021, "lang": "en"},
    },
    {
        "id": "<i>tower</i>",
        "title": "<img src=x onerror='window.pwned=1'>",
        "text": "The tower keeper of Brell is <script>window.pwned=1</script><b>Ada Vorn</b> since 1998.",
        "metadata": {"year": 1998, "lang": "en"},
    },
    {
        "id": "mina",
        "title": "ميناء بريل",
        "text": "يتسع ميناء بريل لسبعة عشر قاربا. أغلقت المطاحن في عام 1921.",
        "metadata": {"year": 2021, "lang": "ar"},
    },
    {
        "id": "ferry-old",
        "title": "Old timetable",
        "text": "In 1950 the ferry to Osk left at six in the morning. Tickets for the ferry cost 1 crown.",
        "metadata": {"year": 1950, "lang": "en"},
    },
]


@pytest.fixture(scope="session")
def chromium_installed() -> None:
    """For tests of the page."""
    require(PROGRAM, "chromium")
    require(DRIVER, "chromium-driver")


@pytest.fixture(scope="session")
def door(suite: Suite) -> Iterator[Door]:
    """In front of the all-in-one, which has the documents of these tests in a collection of their own."""
    with suite.client() as client:
        put(client, DOCUMENTS, COLLECTION)
    with opened(suite.url) as running:
        yield running


@pytest.fixture(scope="session")
def chrome(chromium_installed: None, door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a worker."""
    with chromium(door.url, tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(chrome: Browser) -> Iterator[Browser]:
    """The page, opened anew, asking the collection of these tests."""
    chrome.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    chrome.open()
    choose(chrome, COLLECTION)
    yield chrome
    assert chrome.faults() == []


def choose(page: Browser, collection: str) -> None:
    """Ask this collection from now on."""
    page.until(
        lambda: page.run(
            "const select = document.getElementById('collection'); select.value = arguments[0];"
            "select.dispatchEvent(new Event('change', {bubbles: true})); return select.value === arguments[0]",
            collection,
        )
    )
