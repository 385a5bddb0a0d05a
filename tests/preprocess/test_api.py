"""The REST door: the contract, and every bad input that it may meet."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import orjson
import pytest

from tests.preprocess.world import World, world


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    return body


async def stored(here: World, *documents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await here.client.post("/documents", json={"documents": list(documents), **fields})
    assert answer.status_code == 202
    if here.worker.consumer is None:
        await here.worker.start()
    return await here.ended(answer.json()["job_id"])


async def test_documents_are_taken_in_and_their_job_can_be_asked_for(here: World) -> None:
    answer = await here.client.post(
        "/documents", json={"documents": [{"text": "One."}, {"id": "b", "text": "Two."}]}
    )
    assert answer.status_code == 202
    body = answer.json()
    assert body == {"job_id": body["job_id"], "documents": 2}
    assert answer.headers["location"] == f"/jobs/{body['job_id']}"
    job = (await here.client.get(answer.headers["location"])).json()
    assert {key: job[key] for key in ("state", "done", "total", "errors")} == {
        "state": "queued",
        "done": 0,
        "total": 2,
        "errors": [],
    }
    assert (await here.client.get(f"/v1/jobs/{body['job_id']}")).status_code == 200


async def test_a_document_is_read_as_it_was_sent(here: World) -> None:
    text = "Ünïcode, \u202ebidi\u202c and a 文.\r\n\r\nSecond."
    sent = {"id": "team a/notes #1?.md", "title": "Notes", "text": text, "metadata": {"team": "x", "n": 1}}
    assert (await stored(here, sent, collection="other"))["state"] == "done"
    url = "/documents/team a/notes %231%3F.md"
    body = (await here.client.get(url, params={"collection": "other"})).json()
    assert {key: body[key] for key in ("id", "collection", "title", "text", "metadata")} == {
        **sent,
        "collection": "other",
    }
    assert body["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert body["passages"] >= 1
    assert body["generation"] >= 1
    whole = (await here.client.get(url, params={"collection": "other", "passages": "true"})).json()
    assert len(whole["passage_list"]) == whole["passages"]
    assert all(text[p["start"] : p["end"]] for p in whole["passage_list"])
    problem(await here.client.get(url), 404)


async def test_a_deleted_document_is_gone(here: World) -> None:
    await stored(here, {"id": "a/b", "text": "One."})
    answer = await here.client.delete("/documents/a/b")
    body = answer.json()
    assert (answer.status_code, body["id"], body["deleted"], body["passages"]) == (200, "a/b", True, 1)
    assert body["generation"] >= 2
    assert "'a/b'" in problem(await here.client.delete("/documents/a/b"), 404)["detail"]
    problem(await here.client.get("/documents/a/b"), 404)


async def test_documents_are_listed_a_page_at_a_time(here: World) -> None:
    await stored(here, *({"id": f"d{n}", "text": f"Text {n}.", "metadata": {"n": n}} for n in range(5)))
    seen: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = (await here.client.get("/documents", params={"limit": 2, "after": after})).json()
        seen += page["documents"]
        after = page["next"]
    assert [each["id"] for each in seen] == [f"d{n}" for n in range(5)]
    assert seen[3]["sha256"] == hashlib.sha256(b"Text 3.").hexdigest()
    assert (seen[3]["metadata"], seen[3]["passages"]) == ({"n": 3}, 1)


async def test_hashes_are_hidden_once_documents_would_be_cut_otherwise(
    here: World, address: str, tmp_path: Any
) -> None:
    await stored(here, {"id": "a", "text": "One."})
    async with world(tmp_path / "again", address, max_tokens=64) as after:
        page = (await after.client.get("/documents")).json()
        assert page["documents"][0]["sha256"] == ""
        assert (await after.client.get("/documents/a")).json()["sha256"] == ""


async def test_files_are_taken_in_and_the_bad_ones_fail_alone(here: World) -> None:
    await here.worker.start()
    job_id = await here.send_files(
        ("docs/good.md", b"# Title\n\nText."),
        ("empty.txt", b""),
        ("zeros.txt", b"\x00" * 5000),
        ("broken.pdf", b"%PDF-1.4\nthis is none"),
        ("bomb.docx", b"PK\x03\x04 not a zip at all"),
        ("latin.txt", "Grüße aus Köln".encode("latin-1")),
        collection="files",
        metadata='{"source": "test"}',
    )
    job = await here.ended(job_id)
    assert job["state"] == "done"
    assert {error["document_id"] for error in job["errors"]} == {
        "empty.txt",
        "zeros.txt",
        "broken.pdf",
        "bomb.docx",
    }
    assert all(error["reason"].endswith(".") and "Traceback" not in error["reason"] for error in job["errors"])
    good = (await here.client.get("/documents/docs/good.md", params={"collection": "files"})).json()
    assert good["metadata"] == {"source": "test"}
    latin = (await here.client.get("/documents/latin.txt", params={"collection": "files"})).json()
    assert latin["text"] == "Grüße aus Köln"


async def test_a_very_long_line_and_control_characters_go_in(here: World) -> None:
    job = await stored(
        here, {"id": "line", "text": "word " * 100_000}, {"id": "ctl", "text": "a\x00b\u202ec d\ufeff"}
    )
    assert (job["state"], job["errors"]) == ("done", [])
    assert (await here.client.get("/documents/line")).json()["passages"] > 100


@pytest.mark.parametrize(
    ("content", "kind", "status", "field"),
    [
        (b"{", "application/json", 400, "body"),
        (b'{"documents": [{"text": "\xff"}]}', "application/json", 400, "body"),
        (b'{"documents": [{"text": "\\ud800"}]}', "application/json", 400, "body"),
        (b'{"documents": NaN}', "application/json", 400, "body"),
        (b"[" * 5000 + b"]" * 5000, "application/json", 400, "body"),
        (b"{}", "application/json", 400, "documents"),
        (b'{"documents": []}', "application/json", 400, "documents"),
        (b'{"documents": [{"text": 5}]}', "application/json", 400, "documents[0].text"),
        (b'{"documents": [{"text": ""}]}', "application/json", 400, "documents[0].text"),
        (b'{"documents": [{"text": "x", "url": "y"}]}', "application/json", 400, "documents[0].url"),
        (b'{"documents": [{"text": "x"}], "collection": "no/slash"}', "application/json", 400, "collection"),
        (
            b'{"documents": [{"text": "x", "metadata": {"a": {}}}]}',
            "application/json",
            400,
            "documents[0].metadata",
        ),
        (b"documents=x", "application/x-www-form-urlencoded", 415, None),
        (b"text", "text/plain", 415, None),
        (b"--x\r\n", "multipart/form-data", 400, None),
        (b"nothing of the kind", "multipart/form-data; boundary=x", 400, None),
    ],
)
async def test_a_bad_request_is_a_problem_that_names_the_field(
    here: World, content: bytes, kind: str, status: int, field: str | None
) -> None:
    answer = await here.client.post("/documents", content=content, headers={"content-type": kind})
    body = problem(answer, status)
    if field:
        assert body["errors"][0]["field"] == field
    assert await here.parts.blobs.uris() == []


async def test_two_documents_with_one_id_are_refused(here: World) -> None:
    documents = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}]
    body = problem(await here.client.post("/documents", json={"documents": documents}), 400)
    assert [error["field"] for error in body["errors"]] == ["documents[0].id", "documents[2].id"]


@pytest.mark.parametrize(
    "path",
    [
        "/documents/a?collection=..",
        "/documents/a%00b",
        "/documents/" + "a" * 513,
        "/documents?limit=0",
        "/documents?limit=1001",
        "/documents?limit=x",
        "/documents?collection=a/b",
    ],
)
async def test_bad_parameters_are_problems(here: World, path: str) -> None:
    problem(await here.client.get(path), 400)


async def test_unknown_things_are_not_found(here: World) -> None:
    problem(await here.client.get("/jobs/job-none"), 404)
    problem(await here.client.delete("/jobs/job-none"), 404)
    problem(await here.client.get("/jobs/job-none/events"), 404)
    problem(await here.client.get("/documents/none"), 404)
    problem(await here.client.get("/documents?collection=never"), 404)
    assert (await here.client.get("/documents")).json() == {"documents": [], "next": None, "generation": 0}


async def events(client: httpx.AsyncClient, job_id: str) -> list[tuple[str, dict[str, Any]]]:
    answer = await client.get(f"/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found, name = [], ""
    for line in answer.text.splitlines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found.append((name, orjson.loads(line.removeprefix("data: "))))
    return found


async def test_a_job_is_followed_to_its_end_by_several_and_again_afterwards(here: World) -> None:
    job_id = await here.send(*((f"d{n}", f"Text {n}.") for n in range(10)))
    followers = [asyncio.create_task(events(here.client, job_id)) for _ in range(3)]
    await here.worker.start()
    for heard in [*await asyncio.gather(*followers), await events(here.client, job_id)]:
        assert [name for name, _ in heard[:-1]] == ["progress"] * (len(heard) - 1)
        name, job = heard[-1]
        assert (name, job["state"], job["done"]) == ("done", "done", 10)


async def test_an_ended_job_names_the_generation_that_holds_its_documents(here: World) -> None:
    job_id = await here.send(("a", "One."), ("b", "Two."))
    assert "generation" not in (await here.client.get(f"/jobs/{job_id}")).json()
    await here.worker.start()
    await here.ended(job_id)
    current = (await here.client.get("/documents")).json()["generation"]
    assert (await here.client.get(f"/jobs/{job_id}")).json()["generation"] == current > 0
    assert (await events(here.client, job_id))[-1][1]["generation"] == current
    assert (await here.client.delete(f"/jobs/{job_id}")).json()["generation"] == current
    assert (await here.client.delete("/documents/a")).json()["generation"] == current + 1


async def test_a_job_is_cancelled(here: World) -> None:
    job_id = await here.send(("a", "One."), ("b", "Two."))
    body = (await here.client.delete(f"/jobs/{job_id}")).json()
    assert (body["state"], body["done"], body["total"]) == ("cancelled", 0, 2)
    assert (await events(here.client, job_id))[-1][0] == "cancelled"
    for n in range(2):
        await here.run(job_id, n)  # as when the messages come
    assert await here.ids() == []
    assert await here.parts.blobs.uris() == []


async def test_the_contract_is_described_with_examples(here: World) -> None:
    schema = (await here.client.get("/openapi.json")).json()
    body = schema["paths"]["/documents"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"]["examples"]
    assert "files" in body["multipart/form-data"]["schema"]["properties"]
    assert "#/$defs" not in orjson.dumps(schema).decode()
