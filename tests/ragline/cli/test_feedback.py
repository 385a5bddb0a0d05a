"""`ragline feedback`: what is said of an answer ends up in data sets."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ragline.cli.client import Failure
from ragline.cli.feedback import app
from ragline.evaluation import beir
from tests.ragline.cli.conftest import Said
from tests.suite import Suite, put

pytestmark = [pytest.mark.models, pytest.mark.stack]


def run(suite: Suite, *arguments: str) -> Said:
    """What the command says; it runs in this process, since what starts an interpreter is tried elsewhere."""
    ended = CliRunner().invoke(app, arguments, env={"RAGLINE_URL": suite.url, "COLUMNS": "200"})
    assert ended.exception is None or isinstance(ended.exception, Failure | SystemExit)
    return Said(ended.exit_code, ended.stdout, str(ended.exception or ""))


def test_from_an_answer_to_a_data_set(suite: Suite, client: httpx.Client, collection: str, tmp_path: Path) -> None:
    put(client, [{"id": "ferry", "text": "The ferry to Orvan leaves at nine. It takes forty cars."}], collection)
    answer = client.post(
        "/generate", json={"query": "When does the ferry leave?", "collection": collection}
    ).json()
    assert run(suite, "give", answer["id"], "up", "--tag", "quick").status == 0
    said = run(suite, "give", answer["id"], "down", "--corrected", "At nine sharp.", "--comment", "Too long.")
    assert said.status == 0
    listed = [json.loads(line) for line in run(suite, "list", "-c", collection).out.splitlines()]
    assert [each["rating"] for each in listed] == ["up", "down"]
    assert listed[0]["answer"]["answer"] == answer["answer"]
    assert "passages" not in listed[0]["answer"]

    assert run(suite, "export", str(tmp_path / "up"), "-c", collection, "--rating", "up").status == 0
    data = beir.read(tmp_path / "up")
    assert list(data.queries.values()) == ["When does the ferry leave?"]
    assert data.unknown_documents == 0
    pairs = run(suite, "export", str(tmp_path / "pairs"), "-c", collection, "--format", "preferences")
    assert "preferences.jsonl: 1 lines" in pairs.out


def test_what_cannot_be_done_is_one_sentence(suite: Suite, tmp_path: Path) -> None:
    assert "GENERATOR_RECORDS_TTL_S" in run(suite, "give", "nowhere", "up").err
    assert "since" in run(suite, "list", "--since", "yesterday").err
    (tmp_path / "file").write_text("")
    assert "cannot be written" in run(suite, "export", str(tmp_path / "file")).err
