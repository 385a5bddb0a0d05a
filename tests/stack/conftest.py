"""A client of the running suite that minds what no response may hold, and a collection for each test."""

from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from tests.stack import problems
from tests.suite import Suite, put

NUMBERS = count(1)

MESSAGES = """\
# Messages

A lost message is retried every five minutes for one day. After that it lies in the dead letter queue.

## Storage

The messages are kept on two disks of the harbour office in Tromsø. Café “Zum Löwen” 😀 keeps none.
"""
DOCUMENTS = [
    {
        "id": "handbook/messages",
        "title": "Messages",
        "text": MESSAGES,
        "metadata": {"team": "platform", "year": 2024, "tags": ["queue", "retry"], "draft": False},
    },
    {
        "id": "handbook/leave",
        "title": "Leave",
        "text": "Everybody has 30 days of paid leave a year. Leave is requested from the team lead by letter.",
        "metadata": {"team": "people", "year": 2025, "tags": ["holiday"]},
    },
    {
        "id": "manuals/pump",
        "title": "Pump P-100",
        "text": "The warranty of the P-100 pump lasts four years. The seal of the pump is changed every winter.",
        "metadata": {"team": "plant", "year": 2019, "made.in": "Vardø"},
    },
]


@pytest.fixture
def client(suite: Suite) -> Iterator[httpx.Client]:
    """An HTTP client each of whose responses is looked through for what must stay inside the server."""
    with suite.client() as client:
        client.event_hooks = {"response": [problems.inspect]}
        yield client


@pytest.fixture
def collection() -> str:
    """The name of a collection that no other test knows."""
    return f"test-{next(NUMBERS)}"


@pytest.fixture(scope="session")
def handbook(suite: Suite) -> str:
    """A collection with DOCUMENTS, for tests that only read."""
    with suite.client() as client:
        job = put(client, DOCUMENTS, "handbook")
    assert job["state"] == "done", job
    return "handbook"
