"""``ragline chat`` and ``ragline ask --session``: questions that are understood from those before."""

import subprocess

import pytest

from tests.ragline.cli.conftest import Shell
from tests.suite import put

pytestmark = [pytest.mark.models, pytest.mark.stack]
TOWNS = "cli-towns"


@pytest.fixture(scope="module")
def towns(request: pytest.FixtureRequest) -> str:
    suite = request.getfixturevalue("suite")
    documents = [
        {
            "id": "brell.md",
            "title": "Brell",
            "text": "Brell has 4,200 inhabitants. The mayor of Brell is Ada Lund.",
        },
        {"id": "orvan.md", "title": "Orvan", "text": "Orvan has 900 inhabitants. The mayor of Orvan is Bo Ek."},
    ]
    with suite.client() as client:
        assert put(client, documents, TOWNS)["state"] == "done"
    return TOWNS


def converse(shell: Shell, *lines: str, options: tuple[str, ...] = (), status: int = 0) -> str:
    ended = subprocess.run(
        shell.command("chat", "-c", TOWNS, *options),
        cwd=shell.folder,
        env=shell.environment(),
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (ended.returncode, ended.stderr) == (status, "")
    return ended.stdout


def test_a_follow_up_is_understood(shell: Shell, towns: str) -> None:
    said = converse(shell, "How many inhabitants has Orvan?", "", "And who is its mayor?")
    first, _, second = said.partition("\n\n[1] orvan.md")
    assert "900" in first
    assert "Bo Ek" in second
    assert "Ada Lund" not in second


def test_new_begins_anew_and_a_failure_does_not_end_it(shell: Shell, towns: str) -> None:
    said = converse(
        shell, "How many inhabitants has Orvan?", "/new", "x" * 5000, "Who is mayor of Brell?", status=1
    )
    assert "GENERATOR_MAX_QUERY_CHARS" in said
    assert said.index("GENERATOR_MAX_QUERY_CHARS") < said.index("Ada Lund")


def test_every_question_is_asked_of_the_chosen_scorer(shell: Shell, towns: str) -> None:
    said = converse(shell, "Who is mayor of Brell?", "And of Orvan?", options=("--scorer", "nobody"), status=1)
    assert said.count("No scorer 'nobody' is loaded here") == 2
    assert "Bo Ek" in converse(shell, "Who is mayor of Orvan?", options=("--scorer", "late_interaction"))


def test_ask_goes_on_with_a_session(shell: Shell, towns: str) -> None:
    assert "900" in shell.run("ask", "How many inhabitants has Orvan?", "-c", towns, "--session", "cli-1").out
    assert "Bo Ek" in shell.run("ask", "And who is its mayor?", "-c", towns, "--session", "cli-1").out
    refused = shell.run("ask", "And when?", "--session", "not an id")
    assert refused.status == 1
    assert "session_id must be" in refused.err
