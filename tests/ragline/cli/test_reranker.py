"""`ragline reranker`: what it asks for holds on all replicas, or on none."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from ragline.cli.client import Failure
from ragline.cli.reranker import app
from tests.ragline.cli.conftest import Said
from tests.reranker.process import RerankerProcess

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two replicas; the second one has no room for a fourth scorer."""
    with ExitStack() as stack:
        urls = []
        for most in (8, 3):
            folder = tmp_path_factory.mktemp("replica")
            settings = {"scorer": "overlap", "extra_scorers": {"extra": {"scorer": "overlap"}}, "max_loaded": most}
            urls.append(stack.enter_context(RerankerProcess(folder, **settings)).url)
        yield ",".join(urls)


def ask(replicas: str, *arguments: str) -> Said:
    """What the command says; it runs in this process, since what starts an interpreter is tried elsewhere."""
    ended = CliRunner().invoke(app, arguments, env={"RAGLINE_RERANKER_URL": replicas, "COLUMNS": "200"})
    assert ended.exception is None or isinstance(ended.exception, Failure | SystemExit)
    return Said(ended.exit_code, ended.stdout, str(ended.exception or ""))


def states(replicas: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(replicas, "status", "--json").out)
    return found


def test_what_one_refuses_is_done_on_none(replicas: str) -> None:
    _, second = replicas.split(",")
    filler = {"scorer": "overlap", "name": "filler", "role": "load", "probe": False}
    httpx.post(f"{second}/admin/reranker", json=filler).raise_for_status()
    refused = ask(replicas, "use", "overlap", "--name", "bare")
    assert refused.status == 1
    assert refused.err.startswith(second)
    assert refused.err.count("http://") == 1
    assert "RERANKER_MAX_LOADED is 3" in refused.err
    for state in states(replicas):
        assert state["serving"]["name"] == "overlap"
        assert "bare" not in [each["name"] for each in state["others"]]
    assert ask(second, "stop", "filler").status == 0


def test_a_swap_and_back_on_all(replicas: str) -> None:
    said = ask(replicas, "use", "overlap", "-o", "phrases=0", "--name", "bare")
    assert (said.status, said.err) == (0, "")
    assert said.out.count("bare") == said.out.count("serve") == 2
    assert "16 of 24" in said.out
    assert [state["serving"]["name"] for state in states(replicas)] == ["bare", "bare"]
    shown = ask(replicas, "status")
    assert "bare" in shown.out
    assert "served before" in shown.out
    assert 'RERANKER_SCORER_OPTIONS={"phrases":0}' in shown.out
    assert ask(replicas, "back").status == 0
    assert [state["serving"]["name"] for state in states(replicas)] == ["overlap", "overlap"]
    assert ask(replicas, "stop", "bare").status == 0


def test_a_trial_and_its_promotion(replicas: str) -> None:
    said = ask(replicas, "canary", "--name", "extra", "--share", "0.5", "--json")
    assert said.status == 0, said.err
    assert {event["name"] for event in json.loads(said.out)} == {"extra"}
    assert {state["canary"]["share"] for state in states(replicas)} == {0.5}
    twice = ask(replicas, "canary", "overlap", "--name", "more")
    assert twice.status == 1
    assert "stop it first" in twice.err
    assert all(state["canary"]["name"] == "extra" for state in states(replicas))
    assert ask(replicas, "promote").status == 0
    assert {state["serving"]["name"] for state in states(replicas)} == {"extra"}
    assert ask(replicas, "back").status == 0
    assert ask(replicas, "shadow", "--name", "extra", "--judge", "overlap").status == 0
    assert ask(replicas, "stop", "shadow").status == 0
    assert ask(replicas, "stop", "shadow").status == 1


def test_what_cannot_be(replicas: str) -> None:
    for arguments, says in (
        (["use"], "Say which scorer"),
        (["use", "overlap", "-o", "phrases"], "name=value"),
        (["use", "--name", "extra", "-o", "a=1"], "Options belong"),
        (["use", "overlap", "-o", "k1=-1"], "option 'k1'"),
        (["status", "--address", "ftp://x"], "http://host:port"),
        (["status", "--address", "http://no.such.host.invalid:1"], "no address"),
        (["status", "--address", "http://127.0.0.1:1"], "does not answer"),
    ):
        said = ask(replicas, *arguments)
        assert said.status == 1
        assert says in said.err
