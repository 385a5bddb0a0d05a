"""The REST contract of documents, jobs and search, line by line, against the running suite."""

import re
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from tests.stack import shapes
from tests.stack.conftest import DOCUMENTS, MESSAGES
from tests.stack.files import pdf
from tests.stack.problems import problem
from tests.suite import put, wait_for_job

pytestmark = [pytest.mark.models, pytest.mark.stack]

QUESTION = "How often is a lost message retried?"


def found(client: httpx.Client, collection: str, query: str, **more: Any) -> list[dict[str, Any]]:
    answer = client.post("/retrieve", json={"query": query, "collection": collection, **more})
    assert answer.status_code == 200, answer.text
    passages: list[dict[str, Any]] = answer.json()["passages"]
    return passages


def test_documents_are_accepted_as_json(client: httpx.Client, collection: str) -> None:
    answer = client.post("/documents", json={"collection": collection, "documents": DOCUMENTS})
    assert answer.status_code == 202
    assert answer.json() == {"job_id": answer.json()["job_id"], "documents": 3}
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    job = wait_for_job(client, answer.json()["job_id"])
    shapes.check(job, shapes.JOB)
    assert (job["state"], job["done"], job["total"], job["errors"]) == ("done", 3, 3, [])


def test_documents_are_accepted_as_files(client: httpx.Client, collection: str) -> None:
    files = [("files", (f"notes/{n}.md", f"# Note {n}\n\nThe harbour has {n} cranes.".encode())) for n in (4, 5)]
    answer = client.post("/documents", files=files, data={"collection": collection, "metadata": '{"year": 2020}'})
    assert answer.status_code == 202
    assert answer.json()["documents"] == 2
    assert wait_for_job(client, answer.json()["job_id"])["state"] == "done"
    hits = found(client, collection, "cranes of the harbour")
    assert {hit["document_id"] for hit in hits} == {"notes/4.md", "notes/5.md"}
    assert all(hit["metadata"]["year"] == 2020 for hit in hits)
    assert hits[0]["title"].startswith("Note")


def test_a_document_without_an_id_gets_one_from_its_text(client: httpx.Client, collection: str) -> None:
    for _ in range(2):
        job = put(client, [{"text": "The lighthouse was built in 1861."}], collection)
        assert job["state"] == "done"
    listed = client.get("/documents", params={"collection": collection}).json()["documents"]
    assert len(listed) == 1
    assert found(client, collection, "lighthouse")[0]["document_id"] == listed[0]["id"]


def test_a_document_can_be_read_back(client: httpx.Client, handbook: str) -> None:
    answer = client.get("/documents/handbook/messages", params={"collection": handbook, "passages": True})
    document = answer.json()
    assert document["id"] == "handbook/messages"
    assert document["title"] == "Messages"
    assert document["text"] == MESSAGES
    assert document["metadata"] == DOCUMENTS[0]["metadata"]
    assert document["passages"] == len(document["passage_list"])
    for passage in document["passage_list"]:
        assert 0 <= passage["start"] < passage["end"] <= len(MESSAGES)


def test_documents_are_listed_in_pages(client: httpx.Client, handbook: str) -> None:
    listed = []
    after: str | None = ""
    while after is not None:
        page = client.get("/documents", params={"collection": handbook, "limit": 2, "after": after}).json()
        listed += [document["id"] for document in page["documents"]]
        after = page["next"]
    assert listed == sorted(str(document["id"]) for document in DOCUMENTS)


def test_job_events_end_with_the_state(client: httpx.Client, collection: str) -> None:
    answer = client.post("/documents", json={"collection": collection, "documents": DOCUMENTS}).json()
    with connect_sse(client, "GET", f"/jobs/{answer['job_id']}/events") as source:
        events = [(event.event, event.json()) for event in source.iter_sse()]
    kinds = [kind for kind, _ in events]
    assert set(kinds[:-1]) == {"progress"}
    assert kinds[-1] == "done"
    for _, job in events:
        shapes.check(job, shapes.JOB)
    progress = [job["done"] for _, job in events]
    assert progress == sorted(progress)
    assert progress[-1] == 3


def test_an_unknown_job_is_a_problem(client: httpx.Client) -> None:
    problem(client.get("/jobs/job-0"), 404, "job-0")
    problem(client.get("/jobs/job-0/events"), 404, "job-0")
    problem(client.delete("/jobs/job-0"), 404, "job-0")


def test_what_is_done_is_found_at_once(client: httpx.Client, collection: str) -> None:
    for n in range(5):
        put(client, [{"id": f"d{n}", "text": f"Crate number{n} holds lamps."}], collection)
        assert found(client, collection, f"number{n}")[0]["document_id"] == f"d{n}"


def test_an_update_replaces_the_whole_document(client: httpx.Client, collection: str) -> None:
    many = " ".join(f"Line {n} tells of the old zeppelin." for n in range(200))
    put(client, [{"id": "ship", "title": "Old", "text": many, "metadata": {"v": 1}}], collection)
    before = client.post("/retrieve", json={"query": "zeppelin", "collection": collection}).json()
    assert len(before["passages"]) > 1
    put(client, [{"id": "ship", "title": "New", "text": "It is a steamer now.", "metadata": {"v": 2}}], collection)
    after = client.post("/retrieve", json={"query": "zeppelin", "collection": collection}).json()
    assert after["generation"] > before["generation"]
    assert [p["text"].strip() for p in after["passages"]] == ["It is a steamer now."]
    assert after["passages"][0]["metadata"] == {"v": 2}
    assert found(client, collection, "zeppelin", mode="sparse") == []


def test_a_delete_is_immediate(client: httpx.Client, collection: str) -> None:
    put(client, DOCUMENTS, collection)
    path = "/documents/handbook/messages"
    answer = client.delete(path, params={"collection": collection})
    assert answer.status_code == 200
    assert answer.json()["deleted"] is True
    for mode in ("hybrid", "dense", "sparse"):
        hits = found(client, collection, QUESTION, mode=mode, top_k=100)
        assert "handbook/messages" not in {hit["document_id"] for hit in hits}
    problem(client.get(path, params={"collection": collection}), 404, "handbook/messages")
    problem(client.delete(path, params={"collection": collection}), 404, "handbook/messages")
    put(client, DOCUMENTS[:1], collection)
    assert found(client, collection, QUESTION)[0]["document_id"] == "handbook/messages"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
@pytest.mark.parametrize("rerank", [False, True])
def test_passages_have_the_shape(client: httpx.Client, handbook: str, mode: str, rerank: bool) -> None:
    body = {"query": QUESTION, "collection": handbook, "mode": mode, "rerank": rerank}
    answer = client.post("/retrieve", json=body)
    assert answer.status_code == 200
    shapes.check(answer.json(), shapes.RETRIEVED)
    passages = answer.json()["passages"]
    assert passages[0]["document_id"] == "handbook/messages"
    scores = [passage["score"] for passage in passages]
    assert scores == sorted(scores, reverse=True)
    assert not answer.json()["degraded"]
    assert "explain" not in passages[0]


def test_passages_point_into_the_document(client: httpx.Client, handbook: str) -> None:
    for passage in found(client, handbook, "disks of the harbour office in Tromsø"):
        path = f"/documents/{passage['document_id']}"
        text = client.get(path, params={"collection": handbook}).json()["text"]
        source = text[passage["start"] : passage["end"]]
        assert re.findall(r"\w+", source) == re.findall(r"\w+", passage["text"])


def test_queries_are_answered_like_single_ones(client: httpx.Client, handbook: str) -> None:
    queries = [QUESTION, "paid leave", "warranty of the pump", QUESTION]
    body = {"queries": queries, "collection": handbook, "top_k": 2, "explain": True}
    together = client.post("/retrieve", json=body).json()["results"]
    assert len(together) == 4
    for query, result in zip(queries, together, strict=True):
        shapes.check(result, shapes.RETRIEVED)
        alone = found(client, handbook, query, top_k=2, explain=True)
        assert [p["id"] for p in result["passages"]] == [p["id"] for p in alone]
        assert [p["score"] for p in result["passages"]] == pytest.approx([p["score"] for p in alone], abs=1e-5)


def test_top_k_bounds_the_passages(client: httpx.Client, handbook: str) -> None:
    assert len(found(client, handbook, "pump", top_k=1)) == 1
    assert len({p["id"] for p in found(client, handbook, "pump", top_k=100)}) >= 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"team": "people"}, {"handbook/leave"}),
        ({"year": {"$gte": 2020}}, {"handbook/leave", "handbook/messages"}),
        ({"tags": "retry"}, {"handbook/messages"}),
        ({"$or": [{"team": "plant"}, {"draft": False}]}, {"manuals/pump", "handbook/messages"}),
        ({"$not": {"team": {"$in": ["people", "plant"]}}}, {"handbook/messages"}),
        ({"draft": {"$exists": False}}, {"handbook/leave", "manuals/pump"}),
        ({"document_id": "manuals/pump"}, {"manuals/pump"}),
        ({"made.in": "Vardø"}, {"manuals/pump"}),
        ({"team": "nobody"}, set()),
        ({}, {"handbook/leave", "handbook/messages", "manuals/pump"}),
    ],
)
def test_filters_hold_in_each_mode(
    client: httpx.Client, handbook: str, given: dict[str, Any], expected: set[str]
) -> None:
    for mode in ("hybrid", "dense"):
        hits = found(client, handbook, "pump leave message", filter=given, mode=mode)
        assert {hit["document_id"] for hit in hits} == expected


def test_explain_tells_each_stage(client: httpx.Client, handbook: str) -> None:
    first = found(client, handbook, QUESTION, explain=True, rerank=True)[0]["explain"]
    assert first["dense_rank"] == 1
    assert first["sparse_rank"] == 1
    for score in ("dense_score", "sparse_score", "fused_score", "rerank_score"):
        assert isinstance(first[score], float)


def test_passages_of_a_pdf_have_pages(client: httpx.Client, collection: str) -> None:
    pages = [f"The {each} is described here. " * 40 for each in ("crane", "quay", "pilot")]
    answer = client.post("/documents", files={"files": ("port.pdf", pdf(*pages))}, data={"collection": collection})
    job = wait_for_job(client, answer.json()["job_id"])
    assert job["state"] == "done", job
    hits = found(client, collection, "quay", mode="sparse")
    assert {hit["page"] for hit in hits if "crane" not in hit["text"]} == {2}


def test_collections_are_apart(client: httpx.Client, collection: str, handbook: str) -> None:
    put(client, [{"id": "handbook/leave", "text": "Nobody has leave."}], collection)
    assert [hit["text"] for hit in found(client, collection, "leave")] == ["Nobody has leave."]
    assert "30 days" in found(client, handbook, "paid leave")[0]["text"]
    problem(client.post("/retrieve", json={"query": "x", "collection": "not-there"}), 404, "not-there", handbook)


def test_the_default_collection_is_always_there(client: httpx.Client) -> None:
    assert client.post("/retrieve", json={"query": "anything"}).status_code == 200
    assert client.get("/documents").status_code == 200
