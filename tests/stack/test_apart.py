"""Each service as a process of its own: the line works, and what is away makes answers worse, never wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack.apart import Apart
from tests.stack.conftest import DOCUMENTS
from tests.stack.problems import problem
from tests.stack.test_contract_answers import QUESTIONS
from tests.suite import put

pytestmark = [pytest.mark.models, pytest.mark.stack]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, minilm: Path, smollm2: Path) -> Iterator[Apart]:
    """Four running processes that hold DOCUMENTS in the default collection."""
    with Apart(tmp_path_factory.mktemp("apart")) as running:
        with running.client("preprocess") as client:
            job = put(client, DOCUMENTS)
        assert job["state"] == "done", job
        yield running


def answers(apart: Apart, query: str) -> dict[str, object]:
    """The generator's answer."""
    with apart.client("generator") as client:
        answer = client.post("/generate", json={"query": query})
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def until(done: Callable[[int], bool]) -> None:
    """Ask, each time something else, until it is so."""
    assert any(done(n) for n in range(1000))


def test_the_whole_line_works(apart: Apart) -> None:
    answer = answers(apart, QUESTIONS[0])
    assert not answer["abstained"]
    assert answer["degraded"] == []
    with apart.client("retriever") as client:
        found = client.post("/retrieve", json={"query": QUESTIONS[0], "rerank": True}).json()
    assert found["degraded"] == []
    assert found["passages"][0]["document_id"] == "handbook/messages"


def test_each_service_has_its_own_routes_only(apart: Apart) -> None:
    with apart.client("reranker") as client:
        assert client.post("/rerank", json={"query": "x", "passages": ["x"]}).status_code == 200
        problem(client.post("/generate", json={"query": "x"}), 404)


def test_one_request_id_goes_through_all_services(apart: Apart) -> None:
    with apart.client("generator") as client:
        body = {"query": "Who changes the seal of the pump, and when?"}
        client.post("/generate", json=body, headers={"X-Request-Id": "trace-me-1"}).raise_for_status()
    apart.processes["generator"].wait_for_log('"request_id":"trace-me-1"')


def test_answers_go_on_without_the_reranker(apart: Apart) -> None:
    apart.processes["reranker"].kill()
    answer = answers(apart, "How long does the warranty of the pump last, in years?")
    assert answer["degraded"] == ["rerank"]
    assert "four years" in str(answer["answer"])
    apart.processes["reranker"].start()
    apart.processes["reranker"].wait_for(200)
    # The generator looks for it again within about a second.
    until(lambda n: answers(apart, f"Does the warranty of the pump last for {n} years?")["degraded"] == [])


def test_search_goes_on_by_words_without_the_embedder(apart: Apart) -> None:
    apart.processes["preprocess"].kill()
    with apart.client("retriever") as client:
        found = client.post("/retrieve", json={"query": "paid leave"}).json()
        assert found["degraded"] == ["dense"]
        assert found["passages"][0]["document_id"] == "handbook/leave"
        problem(client.post("/retrieve", json={"query": "paid leave", "mode": "dense"}), 503)
    answer = answers(apart, "How many days of leave does everybody have a year?")
    assert answer["degraded"] == ["dense"]
    assert "30 days" in str(answer["answer"])
    apart.processes["preprocess"].start()
    apart.processes["preprocess"].wait_for(200)
    until(lambda n: answers(apart, f"Does everybody have {n} days of paid leave a year?")["degraded"] == [])


def test_without_the_retriever_there_is_no_answer(apart: Apart) -> None:
    with apart.client("preprocess") as client:  # a door that has met the retriever takes documents in without it
        assert put(client, DOCUMENTS[:1])["state"] == "done"
    assert apart.processes["retriever"].stop() == 0
    with apart.client("generator") as client:
        problem(client.post("/generate", json={"query": "Where are the messages kept?"}), 503)
    apart.processes["generator"].wait_for(503)
    with apart.client("preprocess") as client:
        accepted = client.post("/documents", json={"documents": [{"id": "late", "text": "The late ferry."}]})
        assert accepted.status_code == 202
        apart.processes["retriever"].start()
        apart.processes["retriever"].wait_for(200)
        with client.stream("GET", f"/jobs/{accepted.json()['job_id']}/events") as events:
            assert "event: done" in "".join(events.iter_text())
    apart.processes["generator"].wait_for(200)
    assert "late ferry" in str(answers(apart, "Which ferry is late?"))


def test_citations_hold_apart_too(apart: Apart) -> None:
    with apart.client("generator") as client, apart.client("preprocess") as documents:
        answer = client.post("/generate", json={"query": QUESTIONS[1]}).json()
        for citation in answer["citations"]:
            text = documents.get(f"/documents/{citation['document_id']}").json()["text"]
            assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_stop_of_each_is_clean(apart: Apart) -> None:
    for name in ("generator", "preprocess", "reranker", "retriever"):
        assert apart.processes[name].stop() == 0
        assert "crashed" not in apart.processes[name].log
