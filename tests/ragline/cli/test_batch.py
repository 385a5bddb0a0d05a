"""`ragline batch`: a file in, a file of results out."""

import json

from tests.ragline.cli.conftest import Shell

REQUESTS = [
    {"custom_id": "one", "url": "/v1/embed", "body": {"input": "one"}},
    {"custom_id": "two", "url": "/v1/embed", "body": {"input": "two"}},
]


def lines(*requests: object) -> str:
    return "".join(json.dumps(request) + "\n" for request in requests)


def test_results_are_written(shell: Shell) -> None:
    shell.write("questions.jsonl", lines(*REQUESTS))
    said = shell.run("batch", "questions.jsonl")
    assert (said.status, said.err) == (0, "")
    assert "done: 2 of 2, 0 failed; questions.results.jsonl" in said.out
    written = (shell.folder / "questions.results.jsonl").read_text().splitlines()
    assert [json.loads(each)["custom_id"] for each in written] == ["one", "two"]
    batch_id = next(word for word in said.out.split() if word.startswith("batch-"))
    again = shell.run("batch", batch_id, "--out", "again.jsonl")
    assert again.status == 0
    assert (shell.folder / "again.jsonl").read_text().splitlines() == written


def test_a_line_that_fails_is_told(shell: Shell) -> None:
    shell.write("questions.jsonl", lines(*REQUESTS, {"url": "/v1/generate", "body": {}}))
    said = shell.run("batch", "questions.jsonl")
    assert said.status == 1
    assert "done: 3 of 3, 1 failed" in said.out


def test_what_cannot_be_sent_is_told(shell: Shell, nobody: Shell) -> None:
    shell.write("empty.jsonl", "")
    for said, told in (
        (shell.run("batch", "empty.jsonl"), "empty"),
        (shell.run("batch", "missing.jsonl"), "missing.jsonl cannot be read"),
        (shell.run("batch", f"batch-{'0' * 36}"), "no batch"),
        (nobody.run("batch", str(shell.folder / "empty.jsonl")), "Nothing answers"),
    ):
        assert said.status == 1
        assert told in said.err
