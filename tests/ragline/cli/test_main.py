import re
import subprocess
from collections.abc import Iterator

import httpx
import pytest

import ragline
from tests.ragline.cli.conftest import Shell
from tests.suite import put

pytestmark = [pytest.mark.models, pytest.mark.stack]


@pytest.fixture(scope="module")
def handbook(request: pytest.FixtureRequest) -> str:
    suite = request.getfixturevalue("suite")
    text = "A lost message is retried every five minutes. The [bold]sign[/bold] of the pier is \x1b[31mred\x1b[0m."
    pump = "The warranty of the pump lasts four years."
    documents = [{"id": "messages.md", "title": "Messages", "text": text}, {"id": "pump.md", "text": pump}]
    with suite.client() as client:
        assert put(client, documents, "cli-handbook")["state"] == "done"
    return "cli-handbook"


def test_ask_prints_the_answer_and_its_sources(shell: Shell, handbook: str) -> None:
    said = shell.run("ask", "How often is a lost message retried?", "-c", handbook)
    assert said.status == 0
    answer, _, sources = said.out.partition("\n\n")
    assert "five minutes" in answer
    assert answer.endswith("[1]")
    assert sources.startswith("[1] messages.md: “A lost message is retried every five minutes.”")


def test_ask_says_when_it_does_not_know(shell: Shell, handbook: str) -> None:
    said = shell.run("ask", "Who painted the ceiling of the Sistine Chapel?", "-c", handbook)
    assert said.status == 0
    assert said.out.startswith("I found nothing in collection 'cli-handbook'")


def test_search_prints_passages(shell: Shell, handbook: str) -> None:
    said = shell.run("search", "warranty of the pump", "-c", handbook, "-k", "1")
    assert said.status == 0
    assert said.out.startswith("1. ")
    assert "(pump.md)" in said.out
    assert "four years" in said.out
    assert "2. " not in said.out
    for mode in ("hybrid", "dense", "sparse"):
        assert "pump.md" in shell.run("search", "pump", "-c", handbook, "--mode", mode, "--no-rerank").out
    assert "Nothing found." in shell.run("search", "zzzz", "-c", handbook, "--mode", "sparse").out


@pytest.fixture
def overlap(client: httpx.Client) -> Iterator[str]:
    """A scorer that is loaded beside the one that serves."""
    order = {"scorer": "overlap", "name": "cli-overlap", "role": "load", "probe": False}
    assert client.post("/admin/reranker", json=order).status_code == 200
    yield "cli-overlap"
    assert client.delete("/admin/reranker/loaded/cli-overlap").status_code == 200


def asked_of(client: httpx.Client, scorer: str) -> float:
    """How often a scorer was asked for by its name."""
    counted = re.search(
        rf'^ragline_reranker_seconds_count{{role="asked",scorer="{scorer}"}} (\S+)',
        client.get("/metrics").text,
        re.MULTILINE,
    )
    return float(counted[1]) if counted else 0.0


def test_who_asks_chooses_the_scorer(shell: Shell, client: httpx.Client, handbook: str, overlap: str) -> None:
    query = ("How many years does the warranty of the pump last?", "-c", handbook)
    usual = shell.run("search", *query).out
    chosen = shell.run("search", *query, "--scorer", overlap).out
    assert "pump.md" in chosen
    assert chosen != usual
    before = asked_of(client, overlap)
    assert "four years" in shell.run("ask", *query, "--scorer", overlap).out
    assert asked_of(client, overlap) > before


@pytest.mark.parametrize("command", ["ask", "search"])
def test_a_scorer_that_there_is_not_is_told_as_the_service_tells_it(
    shell: Shell, handbook: str, command: str
) -> None:
    said = shell.run(command, "pump", "-c", handbook, "--scorer", "nobody")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("ragline: No scorer 'nobody' is loaded here; there is late_interaction")
    assert len(said.err.splitlines()) == 1


def test_what_documents_hold_does_not_steer_the_terminal(shell: Shell, handbook: str) -> None:
    for command in ("ask", "search"):
        said = shell.run(command, "What is the sign of the pier?", "-c", handbook)
        assert "[bold]sign[/bold]" in said.out
        assert "\x1b" not in said.out


def test_a_reader_that_leaves_is_no_error_to_tell_of(shell: Shell, handbook: str) -> None:
    command = shell.command("search", "pump", "-c", handbook)
    with subprocess.Popen(
        command,
        cwd=shell.folder,
        env=shell.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as left:
        assert left.stdout is not None
        left.stdout.close()
        assert left.stderr is not None
        assert left.stderr.read() == ""


def test_a_terminal_of_few_letters(shell: Shell, handbook: str) -> None:
    said = shell.run("ask", "How often is a lost message retried?", "-c", handbook, PYTHONIOENCODING="ascii")
    assert said.status == 0
    assert "five minutes" in said.out


def test_models(shell: Shell) -> None:
    listed = shell.run("models", "list")
    assert listed.status == 0
    for name in ("all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"):
        line = next(line for line in listed.out.splitlines() if line.startswith(name))
        assert "present" in line
        assert "Apache-2.0" in line
    assert shell.run("models", "verify").status == 0
    assert shell.run("models", "pull", "all-MiniLM-L6-v2").status == 0


def test_doctor(shell: Shell, nobody: Shell) -> None:
    well = shell.run("doctor")
    assert well.status == 0
    assert f"✓ server: ready at {shell.url}" in well.out
    assert "✓ model all-MiniLM-L6-v2" in well.out
    assert "· server: Nothing answers" in nobody.run("doctor").out


def test_doctor_without_models(shell: Shell) -> None:
    said = shell.run("doctor", RAGLINE_MODELS_DIR=str(shell.folder / "none"))
    assert said.status == 1
    assert "✗ model all-MiniLM-L6-v2: missing; run `ragline models pull`" in said.out


ONE_SENTENCE = [
    (("ask", ""), {}, "query"),
    (("ask", "x", "-c", "nowhere"), {}, "nowhere"),
    (("ask", "x", "-c", "a b"), {}, "collection"),
    (("search", "x", "--mode", "magic"), {}, "hybrid"),
    (("search", ""), {}, "query"),
    (("search", "x", "--scorer", "overlap", "--no-rerank"), {}, "scorer says who reranks"),
    (("models", "verify", "nope"), {}, "nope"),
    (("models", "pull", "nope"), {}, "nope"),
    (("models", "verify"), {"RAGLINE_MODELS_DIR": "/nowhere/at/all"}, "models pull"),
    (("ask", "x"), {"RAGLINE_URL": "http://127.0.0.1:1"}, "ragline up"),
    (("search", "x"), {"RAGLINE_URL": "http://127.0.0.1:1"}, "ragline up"),
    (("ingest", "/etc/hostname"), {"RAGLINE_URL": "http://127.0.0.1:1"}, "ragline up"),
    (("ask", "x"), {"RAGLINE_URL": "127.0.0.1:8000"}, "http://host:port"),
    (("ask", "x"), {"RAGLINE_URL": "http://127.0.0.1:port"}, "RAGLINE_URL"),
    (("ask", "x"), {"RAGLINE_URL": "http://no.such.host.invalid"}, "no.such.host"),
    (("ask", "x"), {"RAGLINE_PROT": "8001"}, "RAGLINE_PORT"),
    (("ask", "x"), {"RAGLINE_LOG_LEVEL": "loud"}, "RAGLINE_LOG_LEVEL"),
    (("doctor",), {"RAGLINE_PORT": "99999"}, "RAGLINE_PORT"),
    (("up", "--port", "99999"), {}, "RAGLINE_PORT"),
]


@pytest.mark.parametrize(("command", "environment", "told"), ONE_SENTENCE, ids=str)
def test_errors_are_one_sentence(
    shell: Shell, command: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    said = shell.run(*command, **environment)
    assert said.status in {1, 2}
    assert said.err.startswith("ragline: ")
    assert told in said.err
    assert len(said.err.splitlines()) == 1


def test_a_wrong_command_shows_the_way(shell: Shell) -> None:
    wrong = shell.run("anser", "x")
    assert wrong.status == 2
    assert "anser" in wrong.err
    assert shell.run("ask", "x", "-k", "0").status == 2
    assert shell.run("ask").status == 2


@pytest.mark.parametrize("command", [(), ("up",), ("ingest",), ("ask",), ("search",), ("models",), ("doctor",)])
def test_help(shell: Shell, command: tuple[str, ...]) -> None:
    said = shell.run(*command, "--help")
    assert said.status == 0
    assert "Usage: ragline" in said.out


def test_version(shell: Shell) -> None:
    assert shell.run("--version").out == f"ragline {ragline.__version__}\n"


def test_what_the_server_says_of_itself_is_the_same(client: httpx.Client) -> None:
    assert client.get("/").json()["version"] == ragline.__version__
