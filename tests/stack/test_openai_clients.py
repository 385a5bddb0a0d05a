"""Clients that others wrote, unmodified, against the running suite: openai, LangChain, LlamaIndex."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from tests.servers.fixtures import REQUIRED
from tests.suite import Suite

pytestmark = [pytest.mark.models, pytest.mark.stack]

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
PAGE = ROOT / "docs" / "how-to" / "openai-clients.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = "127.0.0.1:8000"
QUESTION = "How long does the warranty of the P-100 pump last?"


@pytest.fixture(scope="module")
def clients() -> Path:
    """The interpreter that has LangChain and LlamaIndex."""
    if CLIENTS.exists():
        return CLIENTS
    reason = "the clients of others are not installed; make clients"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def test_openai(suite: Suite, handbook: str) -> None:
    with openai.OpenAI(base_url=f"{suite.url}/v1", api_key="-", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=handbook, messages=[{"role": "user", "content": QUESTION}]
        )
        made = raw.parse()
        assert raw.headers["x-request-id"]
        assert "four years" in (made.choices[0].message.content or "")
        citation = (made.choices[0].message.model_extra or {})["citations"][0]
        assert citation["document_id"] == "manuals/pump"
        stream = client.chat.completions.create(
            model=handbook,
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            stream_options={"include_usage": True},
        )
        *chunks, last = stream
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == made.choices[0].message.content
        assert last.usage
        models = {each.id for each in client.models.list()}
        assert {"ragline", handbook, "all-MiniLM-L6-v2", "late_interaction"} <= models
        vectors = client.embeddings.create(model="all-MiniLM-L6-v2", input=["A pump.", "Leave."])
        assert [len(each.embedding) for each in vectors.data] == [384, 384]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="all-MiniLM-L6-v2", input=[[1, 2]])


def test_openai_many_at_once(suite: Suite, handbook: str) -> None:
    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{suite.url}/v1", api_key="-") as client:
            asked = [
                client.chat.completions.create(model=handbook, messages=[{"role": "user", "content": QUESTION}])
                for _ in range(8)
            ]
            return [each.choices[0].message.content or "" for each in await asyncio.gather(*asked)]

    answers = asyncio.run(main())
    assert len(set(answers)) == 1


@pytest.mark.parametrize("client", ["langchain", "llamaindex"])
def test_clients_of_others(suite: Suite, handbook: str, clients: Path, client: str) -> None:
    run(clients, ROOT / "tests" / "clients" / f"ask_{client}.py", suite.url, handbook)


def test_what_the_page_shows_works(suite: Suite, handbook: str) -> None:
    """The blocks that need no more than the openai and websockets packages, each in a namespace of its own."""
    blocks = [block for block in shown(suite) if not others(block)]
    assert len(blocks) >= 3
    code = "\n".join(f"exec({block!r}, {{}})" for block in blocks)
    run(Path(sys.executable), "-c", code)


def test_what_the_page_shows_of_others_works(suite: Suite, handbook: str, clients: Path) -> None:
    blocks = [block for block in shown(suite) if others(block)]
    assert len(blocks) == 2
    code = "\n".join(f"exec({block!r}, {{}})" for block in blocks)
    run(clients, "-c", code)


def shown(suite: Suite) -> list[str]:
    """The Python blocks of the page, asking the running suite."""
    address = suite.url.removeprefix("http://")
    return [block.replace(SHOWN, address) for block in BLOCK.findall(PAGE.read_text())]


def others(block: str) -> bool:
    return "langchain" in block or "llama_index" in block


def run(interpreter: Path, *arguments: str | Path) -> None:
    """Run a program to its end; what it says is shown where it fails."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "LANGSMITH_TRACING": "false"}
    command = [str(interpreter), *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
