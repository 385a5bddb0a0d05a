"""``ragline collections``, ``verify``, ``compact``, ``backup`` and ``restore`` against the running suite."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.ragline.cli.conftest import Said, Shell
from tests.suite import Suite, put

pytestmark = [pytest.mark.models, pytest.mark.stack]
Run = Callable[..., Said]


@pytest.fixture
def run(suite: Suite, shell: Shell) -> Run:
    """The command line, told where the suite's retriever is as everything else is told."""
    port = suite.environment["RETRIEVER_GRPC_PORT"]
    return lambda *arguments: shell.run(*arguments, RETRIEVER_GRPC_PORT=port)


def test_a_collection_goes_around(run: Run, client: httpx.Client, collection: str) -> None:
    texts = {"ferry": "The ferry leaves at nine.", "bread": "Bread rises for two hours."}
    put(client, [{"id": name, "text": text} for name, text in texts.items()], collection)
    said = run("collections", "--json")
    state = next(each for each in json.loads(said.out) if each["collection"] == collection)
    assert (state["documents"], state["passages"], state["dense_tier"]) == (2, 2, "exact")
    assert collection in run("collections").out
    said = run("backup", "all.backup", "--collection", collection)
    assert (said.status, "2 documents of 1 collections" in said.out) == (0, True), said.err
    client.delete("/documents/ferry", params={"collection": collection}).raise_for_status()
    said = run("restore", "all.backup", "--collection", collection)
    assert (said.status, "1 written, 0 deleted" in said.out) == (0, True), said.err
    found = client.post("/retrieve", json={"query": "when does the ferry leave", "collection": collection}).json()
    assert found["passages"][0]["document_id"] == "ferry"
    page = client.get("/metrics").text
    assert f'ragline_collection_documents{{collection="{collection}",tenant="default"}} 2.0' in page
    said = run("verify", "--collection", collection)
    assert (said.status, said.out.strip()) == (0, "✓ the record and its indexes agree")
    assert run("verify", "--json", "--collection", collection).out.strip() == "[]"
    said = run("compact", "--collection", collection, "--json")
    assert json.loads(said.out)["bytes_after"] > 0
    assert " MB after" in run("compact", "--collection", collection).out


def test_what_is_asked_wrongly_is_a_sentence(run: Run, shell: Shell) -> None:
    for arguments, sentence in (
        (["restore", "nothing.backup"], "nothing.backup cannot be read: No such file or directory."),
        (["restore", "x", "--into", "y"], "say which with --collection"),
        (["backup", "x", "--collection", "no-such"], "There is nothing to back up"),
        (["collections", "--retriever", "nonsense"], "'nonsense' is no address; write host:port"),
        (["backup", "no/such/folder/x"], "cannot be written: No such file or directory."),
    ):
        said = run(*arguments)
        assert said.status == 1
        assert sentence in said.err, said
    shell.write("other", "no backup at all, but longer than its head")
    assert "other is no backup of Ragline." in run("restore", "other").err


def test_a_retriever_that_is_not_there_is_a_sentence(nobody: Shell) -> None:
    for arguments in (["collections"], ["verify"], ["compact"], ["backup", "x"]):
        said = nobody.run(*arguments, "--retriever", "127.0.0.1:1")
        assert said.status == 1
        assert "127.0.0.1:1; --retriever or RAGLINE_RETRIEVER_ADDRESS names another" in said.err
    assert not list(nobody.folder.iterdir())
