"""The REST contract of answers, summaries and their streams, line by line, against the running suite."""

import re
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from tests.stack import shapes
from tests.stack.conftest import DOCUMENTS, MESSAGES
from tests.stack.files import pdf
from tests.stack.problems import problem
from tests.suite import Suite, put, wait_for_job

pytestmark = [pytest.mark.models, pytest.mark.stack]

QUESTIONS = [
    "How often is a lost message retried?",
    "Where are the messages kept?",
    "How many days of paid leave does everybody have?",
    "How long does the warranty of the pump last?",
]


def ask(client: httpx.Client, query: str, collection: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/generate", json={"query": query, "collection": collection, **more})
    assert answer.status_code == 200, answer.text
    shapes.check(answer.json(), shapes.ANSWER)
    body: dict[str, Any] = answer.json()
    check_citations(client, body, collection)
    return body


def check_citations(client: httpx.Client, answer: dict[str, Any], collection: str) -> None:
    """Markers and citations match one to one, and each quote stands in its document letter by letter."""
    markers = re.findall(r"\[\d+\]", answer["answer"])
    assert list(dict.fromkeys(markers)) == [citation["marker"] for citation in answer["citations"]]
    assert bool(answer["citations"]) != answer["abstained"]
    for citation in answer["citations"]:
        path = f"/documents/{citation['document_id']}"
        document = client.get(path, params={"collection": collection, "passages": True}).json()
        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
        passage = next(p for p in document["passage_list"] if p["id"] == citation["passage_id"])
        assert passage["start"] <= citation["start"] < citation["end"] <= passage["end"]


def stream(client: httpx.Client, path: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    with connect_sse(client, "POST", path, json={**body, "stream": True}) as source:
        assert source.response.status_code == 200
        return [(event.event, event.json()) for event in source.iter_sse()]


FREQUENT = """\
# Frequently asked questions

## What does a ticket cost?

Adults pay 12 euros, children 6.

**Q: Can I take my dog along?**
A: Yes, on a leash, but not in the restaurant.

## How do I ask from the command line?

Call `zoo ask "Where do I leave my car?"` and wait.

## Where do I leave my car?

Behind the station; the first two hours are free.
"""


@pytest.fixture(scope="module")
def zoo(suite: Suite) -> str:
    """A collection with a list of frequent questions."""
    with suite.client() as client:
        put(client, [{"id": "faq", "title": "The zoo", "text": FREQUENT}], "zoo")
    return "zoo"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("What does a ticket cost?", "Adults pay 12 euros"),
        ("Can I take my dog along?", "Yes, on a leash"),
        ("Where do I leave my car?", "Behind the station"),
        ("Can I take my horse along?", ""),
        ("Where do I sleep?", ""),
    ],
)
def test_a_list_of_questions_is_answered_by_its_answers(
    client: httpx.Client, zoo: str, query: str, expected: str
) -> None:
    """The words of a question stand above the sentence that answers it, and often in examples."""
    answer = ask(client, query, zoo)
    assert answer["abstained"] is not bool(expected)
    assert expected in answer["answer"]


@pytest.mark.parametrize("query", QUESTIONS)
def test_answers_are_cited(client: httpx.Client, handbook: str, query: str) -> None:
    answer = ask(client, query, handbook)
    assert not answer["abstained"]
    assert answer["degraded"] == []
    assert answer["model"] == "extractive"


def test_the_right_document_is_cited(client: httpx.Client, handbook: str) -> None:
    expected = ["handbook/messages", "handbook/messages", "handbook/leave", "manuals/pump"]
    cited = [ask(client, query, handbook)["citations"][0]["document_id"] for query in QUESTIONS]
    assert cited == expected


def test_what_the_documents_do_not_say_is_not_answered(client: httpx.Client, handbook: str) -> None:
    answer = ask(client, "Who painted the ceiling of the Sistine Chapel?", handbook)
    assert answer["abstained"]
    assert handbook in answer["answer"]


def test_an_empty_collection_abstains(client: httpx.Client) -> None:
    answer = ask(client, QUESTIONS[0], "default", filter={"document_id": "nobody"})
    assert answer["abstained"]
    assert answer["citations"] == []


def test_brackets_of_the_source_are_no_markers(client: httpx.Client, collection: str) -> None:
    text = "The bridge of Vardø was opened in 1982 [7]. It is 2,892 metres long [12] and has a tunnel [3]."
    put(client, [{"id": "bridge", "text": text}], collection)
    ask(client, "When was the bridge of Vardø opened?", collection)
    ask(client, "How long is the bridge?", collection)


def test_quotes_count_code_points(client: httpx.Client, collection: str) -> None:
    flag = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    text = (
        f"\ufeff😀 Cafe\u0301 „Zum Löwen“ {flag} opens at nine.\r\n\r\n"
        "The ﬁsh\u00ad market of İzmir\u200b closes at noon.\x0b"
    )
    put(client, [{"id": "signs", "text": text}], collection)
    stored = client.get("/documents/signs", params={"collection": collection}).json()["text"]
    assert stored == text
    ask(client, "When does the fish market of İzmir close?", collection)
    ask(client, "When does the Café open?", collection)


def test_a_quote_of_a_pdf_has_the_page_it_stands_on(client: httpx.Client, collection: str) -> None:
    pages = ["The crane lifts forty tonnes.", "The quay is two hundred metres long.", "The pilot sails at dawn."]
    answer = client.post("/documents", files={"files": ("port.pdf", pdf(*pages))}, data={"collection": collection})
    assert wait_for_job(client, answer.json()["job_id"])["state"] == "done"
    citation = ask(client, "How long is the quay?", collection)["citations"][0]
    assert citation["document_id"] == "port.pdf"
    assert "two hundred metres" in citation["quote"]
    assert citation["page"] == 2


def test_a_filter_holds_for_answers(client: httpx.Client, handbook: str) -> None:
    answer = ask(client, QUESTIONS[0], handbook, filter={"team": "people"}, top_k=3)
    assert {citation["document_id"] for citation in answer["citations"]} <= {"handbook/leave"}


def test_the_second_answer_comes_from_the_cache(client: httpx.Client, collection: str) -> None:
    put(client, DOCUMENTS, collection)
    first = ask(client, QUESTIONS[0], collection)
    second = ask(client, QUESTIONS[0], collection)
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["answer"] == first["answer"]
    assert second["citations"] == first["citations"]
    assert second["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}
    assert second["id"] != first["id"]


def test_a_changed_document_ends_cached_answers(client: httpx.Client, collection: str) -> None:
    put(client, DOCUMENTS, collection)
    before = ask(client, QUESTIONS[0], collection)
    changed = {"id": "handbook/messages", "text": "A lost message is retried every nine hours for one year."}
    put(client, [changed], collection)
    after = ask(client, QUESTIONS[0], collection)
    assert not after["cached"]
    assert after["generation"] > before["generation"]
    assert "nine hours" in after["citations"][0]["quote"]
    client.delete("/documents/handbook/messages", params={"collection": collection}).raise_for_status()
    last = ask(client, QUESTIONS[0], collection)
    assert not last["cached"]
    assert "handbook/messages" not in {citation["document_id"] for citation in last["citations"]}
    assert "nine hours" not in last["answer"]


@pytest.mark.parametrize("query", [QUESTIONS[1], "Who painted the ceiling of the Sistine Chapel?"])
@pytest.mark.parametrize("kept", [False, True], ids=["made", "cached"])
def test_events_come_in_order(client: httpx.Client, collection: str, query: str, kept: bool) -> None:
    put(client, DOCUMENTS, collection)
    body = {"query": query, "collection": collection}
    if kept:
        ask(client, query, collection)
    events = stream(client, "/generate", body)
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "passages"
    assert kinds[-2:] == ["usage", "done"]
    assert set(kinds[1:-2]) <= {"token", "citation"}
    assert kinds[1] == "token"
    for passage in events[0][1]["passages"]:
        shapes.check(passage, shapes.PASSAGE)
    done = events[-1][1]
    shapes.check(done, shapes.ANSWER)
    check_citations(client, done, collection)
    assert done["cached"] is kept
    assert "".join(data["text"] for kind, data in events if kind == "token") == done["answer"]
    assert [data for kind, data in events if kind == "citation"] == done["citations"]
    assert next(data for kind, data in events if kind == "usage") == done["usage"]


def test_explain_shows_the_stages(client: httpx.Client, handbook: str) -> None:
    explained = ask(client, QUESTIONS[2], handbook, explain=True)["explain"]
    assert "30 days" in str(explained)
    assert "explain" not in ask(client, QUESTIONS[2], handbook)


def test_max_tokens_bounds_the_answer(client: httpx.Client, handbook: str) -> None:
    answer = ask(client, "What is written about the pump?", handbook, max_tokens=4, temperature=0.5)
    assert answer["usage"]["completion_tokens"] <= 4


def test_summaries(client: httpx.Client, handbook: str) -> None:
    shape = {
        "summary": str,
        "usage": {"prompt_tokens": int, "completion_tokens": int},
        "timings_ms": {"total": shapes.NUMBER},
        "model": str,
        "degraded": [str],
        "finish": str,
        "cached": bool,
        "abstained": bool,
        "documents": [{"id": str, "title": str, "characters": int}],
        "citations": [{"begin": int, "stop": int, "document_id": str, "start": int, "end": int, "quote": str}],
    }
    by_text = client.post("/summarize", json={"text": MESSAGES, "max_tokens": 40})
    shapes.check(by_text.json(), shape)
    assert by_text.json()["summary"].strip()
    body = {"document_ids": ["handbook/messages"], "collection": handbook, "max_tokens": 40}
    shapes.check(client.post("/summarize", json=body).json(), shape)
    events = stream(client, "/summarize", body)
    assert events[0][0] == "progress"
    assert {kind for kind, _ in events[1:-1]} <= {"progress", "token", "citation"}
    assert events[-1][0] == "done"
    assert "".join(data["text"] for kind, data in events if kind == "token") == events[-1][1]["summary"]
    body["document_ids"] = ["handbook/none"]
    problem(client.post("/summarize", json=body), 404, "handbook/none")


def test_a_client_that_leaves_ends_its_stream_alone(client: httpx.Client, handbook: str) -> None:
    body = {"query": "Write all that is known of the pump.", "collection": handbook, "temperature": 1.5}
    for _ in range(5):
        with connect_sse(client, "POST", "/generate", json={**body, "stream": True}) as source:
            assert next(source.iter_sse()).event == "passages"
    assert client.get("/readyz").status_code == 200
    ask(client, QUESTIONS[3], handbook)
