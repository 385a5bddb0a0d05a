import os
import signal
import subprocess
import time

import httpx
import pytest

from tests.ragline.cli.conftest import Shell
from tests.stack import files

pytestmark = [pytest.mark.models, pytest.mark.stack]


def ids(client: httpx.Client, collection: str) -> set[str]:
    answer = client.get("/documents", params={"collection": collection, "limit": 1000})
    return {document["id"] for document in answer.json().get("documents", [])}


def test_a_folder(shell: Shell, client: httpx.Client, collection: str) -> None:
    shell.write("docs/guide.md", "# Guide\n\nLost messages are retried every five minutes.")
    shell.write("docs/deep/er/page.html", "<h1>Page</h1><p>The pump lasts four years.</p>")
    shell.write("docs/port.pdf", files.pdf("The quay is long.", "The crane is high."))
    shell.write("docs/letter.docx", files.word("Dear all, the office opens at nine."))
    shell.write("docs/rows.jsonl", '{"id": "r1", "text": "One mango."}\n{"id": "r2", "text": "Two mangos."}\n')
    shell.write("docs/.hidden/secret.md", "secret")
    shell.write("docs/program.exe", files.program())
    said = shell.run("ingest", "docs", "-c", collection)
    assert said.status == 0, said
    assert "6/6" in said.out  # the progress bar, in documents
    assert "6 in, 0 unchanged, 0 failed" in said.out
    names = {"docs/guide.md", "docs/deep/er/page.html", "docs/port.pdf", "docs/letter.docx", "r1", "r2"}
    assert ids(client, collection) == names


def test_only_what_changed_goes_in_again(shell: Shell, client: httpx.Client, collection: str) -> None:
    for n in range(40):
        shell.write(f"docs/{n}.txt", f"Text number {n} is about plums.")
    shell.write("docs/rows.csv", "name,text\nfirst,one mango\nsecond,two mangos\n")
    assert "42 in, 0 unchanged, 0 failed" in shell.run("ingest", "docs", "-c", collection).out
    again = shell.run("ingest", "docs", "-c", collection)
    assert again.status == 0
    assert "0 in, 42 unchanged, 0 failed" in again.out
    shell.write("docs/7.txt", "Text number 7 is about cherries now.")
    assert "1 in, 41 unchanged, 0 failed" in shell.run("ingest", "docs", "-c", collection).out
    body = {"query": "cherries", "collection": collection, "mode": "sparse"}
    found = client.post("/retrieve", json=body).json()["passages"]
    assert [passage["document_id"] for passage in found] == ["docs/7.txt"]


def test_a_bad_file_fails_alone(shell: Shell, client: httpx.Client, collection: str) -> None:
    shell.write("good.txt", "Good.")
    shell.write("locked.pdf", files.pdf("Secret.", locked=True))
    shell.write("empty.md", "")
    shell.write("picture.txt", files.picture())
    said = shell.run("ingest", ".", "-c", collection)
    assert said.status == 1
    assert "1 in, 0 unchanged, 3 failed" in said.out
    reasons = [line for line in said.out.splitlines() if line.startswith("✗ ")]
    assert len(reasons) == 3
    assert any(line.startswith("✗ locked.pdf: ") and "password" in line for line in reasons)
    assert ids(client, collection) == {"good.txt"}


def test_a_file_over_the_limits_fails_alone(shell: Shell, client: httpx.Client, collection: str) -> None:
    shell.write("good.txt", "Good.")
    shell.write("large.txt", b"large file " * (34 << 20 >> 3))
    shell.write("larger.txt", b"larger file " * (70 << 20 >> 3))
    said = shell.run("ingest", ".", "-c", collection)
    assert said.status == 1
    assert "1 in, 0 unchanged, 2 failed" in said.out
    assert "RAGLINE_MAX_BODY_MB" in said.out
    assert ids(client, collection) == {"good.txt"}


@pytest.mark.parametrize(
    "name", ['a "quoted" 50%.md', "[draft] x.md", "ä/日本 😀.md", "a;b&c=d.md", "tail .md", "%22.md"]
)
def test_names_of_all_kinds(shell: Shell, client: httpx.Client, collection: str, name: str) -> None:
    shell.write(name, "Named.")
    assert "1 in, 0 unchanged, 0 failed" in shell.run("ingest", ".", "-c", collection).out
    assert ids(client, collection) == {name}
    assert "0 in, 1 unchanged, 0 failed" in shell.run("ingest", ".", "-c", collection).out


def test_names_that_are_no_text(shell: Shell, client: httpx.Client, collection: str) -> None:
    with open(os.fsencode(shell.folder) + b"/caf\xe9.txt", "wb") as file:  # noqa: PTH123 - no Path holds such a name
        file.write(b"Named in Latin-1.")
    assert "1 in, 0 unchanged, 0 failed" in shell.run("ingest", ".", "-c", collection).out
    assert ids(client, collection) == {"caf�.txt"}


def test_a_name_that_is_too_long_fails_alone(shell: Shell, client: httpx.Client, collection: str) -> None:
    shell.write("good.txt", "Good.")
    shell.write("/".join(["x" * 200] * 3) + ".txt", "Too long.")
    said = shell.run("ingest", ".", "-c", collection)
    assert said.status == 1
    assert "1 in, 0 unchanged, 1 failed" in said.out


def test_one_file_by_name_whatever_its_suffix(shell: Shell, client: httpx.Client, collection: str) -> None:
    shell.write("README", "# Read me\n\nThe suite has four services.")
    assert shell.run("ingest", "README", "-c", collection).status == 0
    assert ids(client, collection) == {"README"}


def test_an_interrupted_ingest_goes_on(shell: Shell, client: httpx.Client, collection: str) -> None:
    for n in range(200):
        shell.write(f"docs/{n}.txt", f"Log book {n}. " + f"The ship sails by buoy {n}. " * 20)
    command = shell.command("ingest", "docs", "-c", collection)
    with subprocess.Popen(
        command,
        cwd=shell.folder,
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while not ids(client, collection):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, (out, err)
    assert err.startswith("ragline: Stopped.")
    assert "Traceback" not in out + err
    assert 0 < len(ids(client, collection)) < 200
    said = shell.run("ingest", "docs", "-c", collection)
    assert said.status == 0, said
    assert len(ids(client, collection)) == 200


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_nothing_to_read(shell: Shell, path: str) -> None:
    said = shell.run("ingest", path)
    assert said.status == 1
    assert said.err.startswith("ragline: ")
    assert len(said.err.splitlines()) == 1
